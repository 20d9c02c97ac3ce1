"""From how many requests on the candidate that was dearer to train is the cheaper one.

Each request costs what serving it costs; training is paid once. Two lines cross at most once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil

from sartor.evaluation.records import Report


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Of two candidates: who is cheaper up to a number of requests, and who beyond."""

    few: str
    """Cheaper up to `requests`."""
    many: str
    """Cheaper from `requests` on; the same as `few` where one is cheaper at any number."""
    requests: int | None
    """None where one is cheaper at any number."""


def break_evens(reports: Sequence[Report]) -> tuple[BreakEven, ...]:
    """For any two candidates whose costs are known, in the order of the reports."""
    known = [report for report in reports if report.measured.serving_cost is not None]
    return tuple(_break_even(a, b) for a, b in combinations(known, 2))


def _break_even(a: Report, b: Report) -> BreakEven:
    """Training: what is paid at once. Serving: what each request adds."""
    first, second = sorted(
        (a, b), key=lambda one: (one.measured.training_cost, _serving(one), one.candidate)
    )
    dearer_by = second.measured.training_cost - first.measured.training_cost
    saves = _serving(first) - _serving(second)
    if saves <= 0:
        return BreakEven(first.candidate, first.candidate, None)
    if dearer_by == 0:
        return BreakEven(second.candidate, second.candidate, None)
    return BreakEven(first.candidate, second.candidate, ceil(dearer_by / saves))


def _serving(report: Report) -> float:
    cost = report.measured.serving_cost
    assert cost is not None
    return cost
