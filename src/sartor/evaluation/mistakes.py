"""What a candidate still gets wrong: real examples, worst first."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from sartor.evaluation.ranking import scores_of
from sartor.evaluation.records import Report
from sartor.evaluation.scorers.refusal import abstained

MOST = 10
WRONG = 0.5
"""What scores less is taken for wrong; most answers of a winner should score more."""
_LONGEST = 2_000
"""Characters of a text; what is longer is in the report's file whole."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One answer that fell short."""

    id: str
    input: str
    """The last turn."""
    target: str
    output: str
    score: float
    explanation: str


def mistakes(report: Report, scorer: str, most: int = MOST) -> tuple[Mistake, ...]:
    """The lowest scores below 1, worst first; ties in an order that mixes kinds of questions."""
    scored = scores_of(report, scorer)
    said = {one.example_id: one.explanation for one in report.scores if one.scorer == scorer}
    short = [p for p in report.predictions if scored.get(p.example.id, 1.0) < 1]
    short.sort(key=lambda p: (scored[p.example.id], sha256(p.example.id.encode()).digest()))
    return tuple(
        Mistake(
            id=one.example.id,
            input=one.example.input[-1].content[:_LONGEST] if one.example.input else "",
            target=(one.example.targets or ("",))[0][:_LONGEST],
            output=one.completion.text[:_LONGEST],
            score=scored[one.example.id],
            explanation=said.get(one.example.id, ""),
        )
        for one in short[:most]
    )


def wrong(report: Report, scorer: str, below: float = WRONG) -> int:
    """How many answers scored below that."""
    return sum(value < below for value in scores_of(report, scorer).values())


def refused(report: Report, scorer: str, below: float = WRONG) -> int:
    """How many of those declined to answer what can be answered."""
    scored = scores_of(report, scorer)
    return sum(
        p.example.answerable and scored.get(p.example.id, 1.0) < below and abstained(p)
        for p in report.predictions
    )
