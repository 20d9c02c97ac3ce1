"""Two candidates, one against the other: is A better, good enough, or worse than B?

For questions that are not the decision ("did the new data help?"): one comparison, so nothing is
corrected for many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sartor.errors import DataError
from sartor.evaluation.estimate import group_of
from sartor.evaluation.level import Level
from sartor.evaluation.paired import pair
from sartor.evaluation.ranking import scores_of, seeds_of
from sartor.evaluation.records import Report
from sartor.evaluation.statistics import Interval
from sartor.evaluation.trust import said_of


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one candidate is from another, on the examples both have a score for."""

    candidate: str
    against: str
    scorer: str
    difference: float
    """Mean of (candidate - against); negative is worse."""
    low: float
    high: float
    """95 % interval."""
    p: float
    """Two-sided."""
    n: int
    verdict: Literal["better", "worse", "non-inferior", "cannot tell"]
    """Better or worse: the interval lies on one side of 0, and p is below alpha. Non-inferior: not
    better, and the interval lies above -margin."""
    label_more: int | None = None
    """About how many more examples would settle a `cannot tell`; None where no number would."""
    margin: float = 0.0
    notes: tuple[tuple[str, str, str], ...] = ()
    """Scorer, candidates, and how far its scores of them can be trusted."""

    def told(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        named = {"a": self.candidate, "b": self.against}
        numbers = ("n", "difference", "low", "high", "p", "verdict")
        others = ("label_more", "scorer", "margin")
        notes = [{"candidates": names, "note": note} for _, names, note in self.notes]
        values = {name: getattr(self, name) for name in (*numbers, *others)}
        return {**named, **values, "notes": notes}


def compare(
    a: Report, b: Report, scorer: str, margin: float, seed: int, alpha: float = 0.05
) -> Difference:
    """The difference (a - b) of two reports."""
    first, second = scores_of(a, scorer), scores_of(b, scorer)
    theirs = {p.example.id: (p.example.input, p.example.targets) for p in b.predictions}
    examples = [
        p.example
        for p in a.predictions
        if p.example.id in first.keys() & second.keys()
        and theirs.get(p.example.id) == (p.example.input, p.example.targets)
    ]
    if not examples:
        both = ", ".join(sorted(a.estimates.keys() & b.estimates.keys())) or "no scorer"
        raise DataError(
            f"{a.candidate} and {b.candidate} share no example with a {scorer} score. Evaluate "
            f"both on the same examples, with that scorer; both have scores of: {both}."
        )
    paired = pair(
        [first[example.id] for example in examples],
        [second[example.id] for example in examples],
        [group_of(example) for example in examples],
        seed,
        (seeds_of(a, scorer, examples), seeds_of(b, scorer, examples)),
    )
    level = Level(alpha)
    found = paired.interval(level)
    verdict = _verdict(found, margin, is_shown=paired.p < alpha)
    return Difference(
        candidate=a.candidate,
        against=b.candidate,
        scorer=scorer,
        difference=paired.difference,
        low=found.low,
        high=found.high,
        p=paired.p,
        n=paired.n,
        verdict=verdict,
        label_more=paired.label_more(margin, level) if verdict == "cannot tell" else None,
        margin=margin,
        notes=tuple(one for one in said_of([a, b]) if one[0] == scorer),
    )


def _verdict(
    found: Interval, margin: float, *, is_shown: bool
) -> Literal["better", "worse", "non-inferior", "cannot tell"]:
    """`is_shown`: whether the test says so, too. Of few examples an interval is sooner sure than
    an exact test, and neither is believed without the other."""
    if found.low > 0 and is_shown:
        return "better"
    if found.low > -margin:
        return "non-inferior"
    return "worse" if found.high < 0 and is_shown else "cannot tell"
