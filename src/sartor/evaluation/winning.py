"""Who wins: the cheapest of those that are good enough and meet every criterion.

Costs are measured on machines that are never quiet, so small differences of price count for
nothing: among what costs about the same the higher mean wins, then the fewer trainable parameters,
then the name, so that a rerun decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from sartor.evaluation.cost import price_of
from sartor.evaluation.criteria import fault
from sartor.evaluation.ranking import Ranking
from sartor.evaluation.records import Criteria, Report

SAME_PRICE = 1.5
"""Costs within this factor of the cheapest are not told apart."""


def winner_of(reports: Sequence[Report], ranking: Ranking, criteria: Criteria) -> str | None:
    """The cheapest that is good enough and meets the criteria, if there is one."""
    good_enough = [
        report
        for report in reports
        if not fault(report, criteria) and is_good_enough(report.candidate, ranking, criteria)
    ]
    return _cheapest(good_enough, ranking)


def is_good_enough(name: str, ranking: Ranking, criteria: Criteria) -> bool:
    """Whether it is the best, or shown to be no more than the margin below it."""
    if name == ranking.best:
        return True
    found = ranking.distances.get(name)
    return found is not None and found.interval.low > -criteria.margin


def _cheapest(reports: Sequence[Report], ranking: Ranking) -> str | None:
    if not reports:
        return None
    limit = SAME_PRICE * min(price_of(report) for report in reports)
    return min(
        (report for report in reports if price_of(report) <= limit),
        key=lambda report: (
            -round(ranking.means[report.candidate], 12),
            report.measured.trainable_parameters,
            report.candidate,
        ),
    ).candidate
