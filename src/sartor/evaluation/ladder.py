"""The size ladder: whether to try the next smaller base, decided on validation alone.

Bases are tried from the largest down. After each, its candidates are ranked with all that were
tried before, by the rule of the decision (ranking.py) but on the *validation* part. The next base
is tried unless every candidate of this one is shown to be worse than the best by more than chance
and not within the margin: where it cannot be told, going on costs some time, and stopping could
cost every later answer. So a base with a candidate as good as the best is passed over with a chance
of at most alpha/2 = 2.5 %.

The test part takes no part in this, so the decision's intervals on it, over all that were tried,
are what they would be had these candidates alone been chosen beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sartor.evaluation.ranking import Ranking, rank
from sartor.evaluation.records import Report


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one rung."""

    goes_on: bool
    why: str
    """For people: with the candidate that comes closest, and the numbers."""


def step(
    rung: Sequence[Report], before: Sequence[Report], scorer: str, margin: float, seed: int
) -> Step:
    """Whether to go on below `rung`, the reports on validation of one base's candidates; `before`
    are those of the larger bases.

    A rung none of whose candidates could be run or scored says nothing: the next one is tried.
    """
    everyone = [*before, *rung]
    if not rung:
        return Step(True, "no candidate could be run on it")
    scored = [report for report in rung if scorer in report.estimates]
    if not scored or not any(scorer in report.estimates for report in before):
        return Step(True, "there is nothing to compare yet")
    ranking = rank(everyone, scorer, margin, seed)
    if ranking.best is None:
        return Step(True, "there is nothing to compare yet")
    nearest = max(scored, key=lambda report: (ranking.means[report.candidate], report.candidate))
    if all(_is_worse(report.candidate, ranking, margin) for report in scored):
        return Step(False, _told(nearest.candidate, ranking, scorer, "is worse than"))
    if nearest.candidate == ranking.best:
        return Step(True, f"{nearest.candidate} has the highest {scorer} on validation")
    return Step(True, _told(nearest.candidate, ranking, scorer, "is not shown to be worse than"))


def _is_worse(name: str, ranking: Ranking, margin: float) -> bool:
    """As decide.py says it: not non-inferior, and the interval lies below 0."""
    found = ranking.distances.get(name)
    return found is not None and found.interval.low <= -margin and found.is_worse


def _told(name: str, ranking: Ranking, scorer: str, what: str) -> str:
    found = ranking.distances[name]
    return (
        f"on {ranking.n} validation examples its nearest, {name}, {what} {ranking.best} by "
        f"{-found.paired.difference:.3f} {scorer} "
        f"({-found.interval.high:.3f} to {-found.interval.low:.3f})"
    )
