"""Who came where: each candidate's report, comparison and score in one row, best score first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.evaluation.records import Comparison, Decision, Estimate, Report, Verdict
from sartor.evaluation.summary import open_rivals

WORDS: dict[Verdict | None, str] = {
    "winner": "Ship this one",
    "best": "Best score",
    "non-inferior": "Good enough",
    "worse": "Worse",
    "cannot tell": "Cannot tell",
    "refused": "Refused",
    "stopped": "Stopped early",
    None: "Not compared",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """One candidate's place. A candidate that failed may have no report."""

    rank: int
    name: str
    report: Report | None
    comparison: Comparison | None
    estimate: Estimate | None
    """By the scorer that decides; None where it was not scored."""
    verdict: Verdict | None
    leads: bool = False
    """Whether it won as the best, and cannot be told from others yet."""

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.verdict == "winner" and self.estimate and self.estimate.mean == 0:
            return "Came first, with nothing right"
        return "Leads so far" if self.leads else WORDS[self.verdict]


def standings(decision: Decision, reports: Sequence[Report]) -> tuple[Standing, ...]:
    """All candidates, best score first, those without a score last."""
    by_name = {report.candidate: report for report in reports}
    compared = {comparison.candidate: comparison for comparison in decision.comparisons}
    named = {name for name in (decision.winner, decision.best) if name is not None}
    everyone = {*by_name, *compared, *named}
    names = sorted(everyone, key=lambda name: (-_mean(decision, by_name, name), name))
    return tuple(
        Standing(
            rank,
            name,
            by_name.get(name),
            compared.get(name),
            _estimate(decision, by_name, name),
            _verdict(decision, compared.get(name), name),
            name == decision.winner and bool(open_rivals(decision)),
        )
        for rank, name in enumerate(names, 1)
    )


def subject(decision: Decision, rows: Sequence[Standing]) -> Standing | None:
    """The candidate the page looks at closely: the winner, else the best, else the first scored."""
    by_name = {row.name: row for row in rows if row.report}
    for name in (decision.winner, decision.best):
        if name in by_name:
            return by_name[name]
    return next(iter(by_name.values()), None)


def _estimate(decision: Decision, reports: dict[str, Report], name: str) -> Estimate | None:
    report = reports.get(name)
    estimate = report.estimates.get(decision.criteria.scorer) if report else None
    return estimate if estimate and math.isfinite(estimate.mean) else None


def _mean(decision: Decision, reports: dict[str, Report], name: str) -> float:
    estimate = _estimate(decision, reports, name)
    return estimate.mean if estimate else -math.inf


def _verdict(decision: Decision, comparison: Comparison | None, name: str) -> Verdict | None:
    if name == decision.winner:
        return "winner"
    if comparison:
        return comparison.verdict
    return "best" if name == decision.best else None
