"""From how many requests on the candidate that was dearer to train is the cheaper one.

Each request costs what serving it costs; training is paid once. Two lines cross at most once. What
serving costs was measured on a machine that is never quiet (timing.py), so where they cross has an
interval, which may have no upper end: then the dearer may never pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, floor, hypot

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
    low: int | None = None
    """95 %, of `requests`; None where the noise of what was timed is not known."""
    high: int | None = None
    """None, where `low` is known: it may never come."""

    @property
    def unsure(self) -> str:
        """How far timing leaves `requests` open, in words; empty where that is not known."""
        if self.low is None:
            return ""
        if self.high is None:
            return f"from {self.low:,} on, or never, as far as timing can tell"
        if self.low == self.high:
            return ""
        return f"{self.low:,} to {self.high:,}, as far as timing can tell"

    @property
    def says(self) -> str:
        """In one sentence."""
        more = f" ({self.unsure})" if self.unsure else ""
        requests = "1 request" if self.requests == 1 else f"{self.requests:,} requests"
        return f"{self.few} is cheaper up to {requests}, {self.many} beyond{more}."


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
    low, high = _between(dearer_by, saves, first, second)
    return BreakEven(first.candidate, second.candidate, ceil(dearer_by / saves), low, high)


def _between(
    dearer_by: float, saves: float, first: Report, second: Report
) -> tuple[int | None, int | None]:
    """The requests at either end of the interval of what is saved; the two were timed apart."""
    one, other = first.measured.serving_reach, second.measured.serving_reach
    if one is None or other is None:
        return None, None
    reach = hypot(one, other)
    least = saves - reach
    return floor(dearer_by / (saves + reach)), ceil(dearer_by / least) if least > 0 else None


def _serving(report: Report) -> float:
    cost = report.measured.serving_cost
    assert cost is not None
    return cost
