"""Axes: which stretch of numbers a chart shows, and where its ticks stand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_NARROWEST = 0.1
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, evenly or by powers of ten; `at` gives the share of its length."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Where `value` stands: 0 at the low end, 1 at the high one; outside is put at the end."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return min(1.0, max(0.0, (value - low) / (high - low)))


def score_axis(values: Iterable[float], most_ticks: int = 6) -> Axis:
    """The part of 0 to 1 that holds all values, ended on ticks."""
    known = [min(1.0, max(0.0, value)) for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = _widened(min(known), max(known))
    for step in _STEPS:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most_ticks:
            break
    ticks = tuple(round(number * step, 6) for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def _widened(low: float, high: float) -> tuple[float, float]:
    """At least a tenth wide, so that small differences do not look large."""
    missing = _NARROWEST - (high - low)
    if missing <= 0:
        return low, high
    start = min(max(0.0, low - missing / 2), 1 - _NARROWEST)
    return start, start + _NARROWEST


def cost_axis(values: Iterable[float]) -> Axis | None:
    """A logarithmic axis that holds all values above zero, with room; None where there is none."""
    known = [value for value in values if math.isfinite(value) and value > 0]
    if not known:
        return None
    low, high = min(known), max(known)
    room = max(1.25, math.sqrt(max(1.0, 6 / (high / low))))
    low, high = low / room, high * room
    return Axis(low, high, _decades(low, high), logarithmic=True)


def _decades(low: float, high: float, most: int = 7) -> tuple[float, ...]:
    """Round numbers from low to high: as many as fit, at the least powers of ten."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for heads in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{head}e{power}") for power in exponents for head in heads]
        inside = tuple(tick for tick in ticks if low <= tick <= high)
        if len(inside) <= most:
            return inside
    return inside[:: math.ceil(len(inside) / most)]
