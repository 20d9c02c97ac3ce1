"""Quality against cost: one point a candidate, its interval, and the line none can beat.

Cost runs on a logarithmic axis; what costs nothing stands in a strip of its own at the left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.evaluation.records import Decision, Verdict
from sartor.studio import figures
from sartor.studio.labels import Anchor, Box, Label, place_labels, width
from sartor.studio.scale import Axis, cost_axis, score_axis
from sartor.studio.standing import Standing


@dataclass(frozen=True, slots=True)
class Size:
    """A drawing's size in its own units, and the longest name on it in characters."""

    width: float
    height: float
    name_length: int


WIDE = Size(960, 460, 30)
NARROW = Size(360, 380, 16)
_LEFT, _RIGHT, _TOP, _BOTTOM, _FREE = 44.0, 16.0, 16.0, 48.0, 64.0


@dataclass(frozen=True, slots=True)
class Point:
    name: str
    verdict: Verdict | None
    x: float
    y: float
    top: float
    bottom: float
    label: Label | None
    told: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick of an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """The whole drawing, in units of its size."""

    size: Size
    frame: Box
    points: tuple[Point, ...]
    frontier: str
    """An SVG path; empty where there is no point."""
    efficient: tuple[str, ...]
    """Names on the frontier, cheapest first."""
    band: tuple[float, float] | None
    """Top and height of the stretch that is good enough."""
    across: tuple[Mark, ...]
    up: tuple[Mark, ...]
    free: float | None
    """Where the strip of what costs nothing ends."""


def tradeoff(decision: Decision, rows: Sequence[Standing], size: Size, currency: str) -> Tradeoff:
    """Lay the candidates out by cost and quality."""
    known = [row for row in rows if row.estimate and row.report and _cost(row) is not None]
    costs = [_cost(row) or 0.0 for row in known]
    frame = Box(_LEFT, _TOP, size.width - _RIGHT, size.height - _BOTTOM)
    free = frame.left + _FREE if any(cost <= 0 for cost in costs) else None
    sideways = cost_axis(costs)
    upward = score_axis(_scores(decision, known))
    places = [_place(cost, sideways, frame, free) for cost in costs]
    heights = [_heights(row, upward, frame) for row in known]
    efficient = _efficient(known)
    corners = [(places[at], heights[at][0]) for at in map(known.index, efficient)]
    lines = _lines(places, heights, corners, frame)
    labels = _labels(known, places, heights, frame, size, lines)
    points = tuple(
        Point(row.name, row.verdict, x, y, top, bottom, label, _told(row, currency))
        for row, x, (y, top, bottom), label in zip(known, places, heights, labels, strict=True)
    )
    return Tradeoff(
        size,
        frame,
        points,
        _frontier(corners, frame),
        tuple(row.name for row in efficient),
        _band(decision, known, upward, frame),
        _cost_marks(sideways, frame, free, currency),
        tuple(Mark(_up(tick, upward, frame), figures.points(tick)) for tick in upward.ticks),
        free,
    )


def _cost(row: Standing) -> float | None:
    """What 1,000 answers cost; None where it is not a number."""
    known = row.report.measured.cost_per_answer if row.report else None
    cost = math.nan if known is None else known * 1000
    return cost if math.isfinite(cost) else None


def _scores(decision: Decision, rows: Sequence[Standing]) -> list[float]:
    estimates = [row.estimate for row in rows if row.estimate]
    return [end for estimate in estimates for end in (estimate.low, estimate.mean, estimate.high)]


def _place(cost: float, axis: Axis | None, frame: Box, free: float | None) -> float:
    if cost <= 0 or axis is None:
        return round(frame.left + _FREE / 2, 1)
    start = free if free is not None else frame.left
    return round(start + (frame.right - start) * axis.at(cost), 1)


def _up(value: float, axis: Axis, frame: Box) -> float:
    return round(frame.bottom - (frame.bottom - frame.top) * axis.at(value), 1)


def _heights(row: Standing, axis: Axis, frame: Box) -> tuple[float, float, float]:
    """The mean's height, and the whisker's top and bottom."""
    assert row.estimate
    ends = (row.estimate.mean, row.estimate.high, row.estimate.low)
    y, top, bottom = (
        _up(end if math.isfinite(end) else row.estimate.mean, axis, frame) for end in ends
    )
    return y, top, bottom


def _labels(
    rows: Sequence[Standing],
    places: Sequence[float],
    heights: Sequence[tuple[float, float, float]],
    frame: Box,
    size: Size,
    lines: Sequence[Box],
) -> list[Label | None]:
    """Names, or the place in the leaderboard where a name does not fit; weighty ones first."""
    order = sorted(
        range(len(rows)), key=lambda at: (rows[at].verdict not in ("winner", "best"), at)
    )
    anchors = [
        Anchor(
            places[at],
            heights[at][0],
            (figures.shortened(rows[at].name, size.name_length), f"#{rows[at].rank}"),
        )
        for at in order
    ]
    placed = dict(zip(order, place_labels(anchors, frame, lines), strict=True))
    return [placed[at] for at in range(len(rows))]


def _told(row: Standing, currency: str) -> str:
    assert row.estimate
    assert row.report
    cost = figures.cost_per_thousand(row.report.measured.cost_per_answer, currency)
    return (
        f"{figures.shortened(row.name, 80)}: {figures.score(row.estimate.mean)} of 100 "
        f"({figures.score(row.estimate.low)} to {figures.score(row.estimate.high)}), "
        f"{cost} per 1,000 answers"
    )


def _efficient(rows: Sequence[Standing]) -> list[Standing]:
    """Those that nothing beats in both cost and score, cheapest first."""
    kept: list[Standing] = []
    for row in sorted(rows, key=lambda row: (_cost(row) or 0.0, row.rank)):
        assert row.estimate
        if not kept or row.estimate.mean > (kept[-1].estimate or row.estimate).mean:
            kept.append(row)
    return kept


def _frontier(corners: Sequence[tuple[float, float]], frame: Box) -> str:
    """A path from each corner right and then up to the next."""
    if not corners:
        return ""
    (x, y), *rest = corners
    return f"M{x},{y}" + "".join(f"H{x}V{y}" for x, y in rest) + f"H{frame.right}"


def _lines(
    places: Sequence[float],
    heights: Sequence[tuple[float, float, float]],
    corners: Sequence[tuple[float, float]],
    frame: Box,
) -> list[Box]:
    """Whiskers and the frontier's steps, as thin boxes that names had better not cross."""
    whiskers = [
        Box(x - 3, top, x + 3, bottom) for x, (_, top, bottom) in zip(places, heights, strict=True)
    ]
    nexts = [*corners[1:], (frame.right, corners[-1][1])] if corners else []
    steps = []
    for (x, y), (next_x, next_y) in zip(corners, nexts, strict=True):
        steps += [Box(x, y - 2, next_x, y + 2), Box(next_x - 2, next_y, next_x + 2, y)]
    return whiskers + steps


def _band(
    decision: Decision, rows: Sequence[Standing], axis: Axis, frame: Box
) -> tuple[float, float] | None:
    best = next((row for row in rows if row.name == decision.best), rows[0] if rows else None)
    if not best or not best.estimate or len(rows) < 2:
        return None
    top = _up(best.estimate.mean, axis, frame)
    return top, round(_up(best.estimate.mean - decision.criteria.margin, axis, frame) - top, 1)


def _cost_marks(
    axis: Axis | None, frame: Box, free: float | None, currency: str
) -> tuple[Mark, ...]:
    """Ticks, less those whose words would touch the last one's."""
    marks: list[Mark] = []
    for tick in axis.ticks if axis else ():
        mark = Mark(_place(tick, axis, frame, free), figures.money(tick, currency))
        last = marks[-1] if marks else Mark(free or -1000.0, "")
        if mark.at - last.at > (width(mark.label) + width(last.label)) / 2 + 8:
            marks.append(mark)
    return tuple(marks)
