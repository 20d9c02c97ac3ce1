"""Learning curves: the loss in training and on validation over the steps, one chart a candidate.

Marks and dashes tell the two apart without colour; the step whose values were kept is marked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sartor.studio.labels import Box
from sartor.studio.scale import Axis
from sartor.studio.tradeoff import Mark

WIDTH, HEIGHT = 360.0, 220.0
_FRAME = Box(46.0, 12.0, WIDTH - 14.0, HEIGHT - 40.0)
_ROUND = (1.0, 2.0, 2.5, 5.0)
"""Heads of a round step between ticks."""
_MOST_TICKS = 6


@dataclass(frozen=True, slots=True)
class Curve:
    """How a candidate learned."""

    candidate: str
    learning_rate: float
    kept: int
    """The step whose values were kept: the best on validation."""
    tokens: int
    halvings: int
    """How often the learning rate was halved since a step broke."""
    looks: tuple[tuple[int, float, float], ...]
    """(step, training loss since the last look, validation loss)."""

    @property
    def best(self) -> float:
        """Loss on validation of the values that were kept; NaN where none was a number."""
        return min((held for _, _, held in self.looks if math.isfinite(held)), default=math.nan)


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    told: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing of one curve, in units of its size."""

    curve: Curve
    frame: Box
    training: tuple[Point, ...]
    validation: tuple[Point, ...]
    kept: Point | None
    across: tuple[Mark, ...]
    up: tuple[Mark, ...]
    told: str
    """What is seen, in words."""

    @staticmethod
    def line(points: Sequence[Point]) -> str:
        """An SVG path through the points."""
        return "M" + "L".join(f"{point.x},{point.y}" for point in points) if points else ""


def charts(curves: Iterable[Curve]) -> list[Chart]:
    """One for each candidate that was trained and looked at."""
    return [_chart(curve) for curve in curves if any(map(_is_drawn, curve.looks))]


def _is_drawn(look: tuple[int, float, float]) -> bool:
    return math.isfinite(look[1]) or math.isfinite(look[2])


def _chart(curve: Curve) -> Chart:
    losses = [loss for _, *both in curve.looks for loss in both if math.isfinite(loss)]
    upward = even_axis(min(losses), max(losses))
    last = max(step for step, _, _ in curve.looks)
    sideways = Axis(0, last, _ticks(0, last, whole=True))
    training = _points("training", [(s, t) for s, t, _ in curve.looks], sideways, upward)
    validation = _points("validation", [(s, v) for s, _, v in curve.looks], sideways, upward)
    at_kept = _points(
        "kept", [(s, v) for s, _, v in curve.looks if s == curve.kept], sideways, upward
    )
    return Chart(
        curve,
        _FRAME,
        training,
        validation,
        at_kept[0] if at_kept else None,
        tuple(Mark(_across(tick, sideways), f"{tick:,.0f}") for tick in sideways.ticks),
        tuple(Mark(_up(tick, upward), f"{tick:g}") for tick in upward.ticks),
        _told(curve),
    )


def _points(
    name: str, values: Iterable[tuple[int, float]], sideways: Axis, upward: Axis
) -> tuple[Point, ...]:
    return tuple(
        Point(_across(step, sideways), _up(loss, upward), f"{name}, step {step:,}: {loss:.3f}")
        for step, loss in values
        if math.isfinite(loss)
    )


def _across(step: float, axis: Axis) -> float:
    return round(_FRAME.left + (_FRAME.right - _FRAME.left) * axis.at(step), 1)


def _up(loss: float, axis: Axis) -> float:
    return round(_FRAME.bottom - (_FRAME.bottom - _FRAME.top) * axis.at(loss), 1)


def even_axis(low: float, high: float) -> Axis:
    """From a round number at or below `low` to one at or above `high`, never of no width."""
    if high - low < 1e-6 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    step = _step(high - low)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{number * step:.10g}") for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def _ticks(low: float, high: float, *, whole: bool) -> tuple[float, ...]:
    step = max(1.0, math.ceil(_step(high - low))) if whole else _step(high - low)
    return tuple(low + number * step for number in range(int((high - low) / step) + 1))


def _step(width: float) -> float:
    """The smallest round step of which the width has few enough."""
    power = math.floor(math.log10(width / _MOST_TICKS))
    steps = (head * 10.0**exponent for exponent in (power, power + 1) for head in _ROUND)
    return next(step for step in steps if width / step <= _MOST_TICKS - 1)


def _told(curve: Curve) -> str:
    (_, first, _), (last, trained, _) = curve.looks[0], curve.looks[-1]
    return (
        f"Training loss from {first:.3f} to {trained:.3f} over {last:,} steps; validation loss "
        f"best at step {curve.kept:,}, {curve.best:.3f}"
    )
