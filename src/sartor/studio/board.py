"""The leaderboard's chart: a dot and its whiskers a row, all rows on one axis.

Places are shares of the cell's width in percent, so the drawing stretches and its text does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.evaluation.records import Decision
from sartor.studio import figures
from sartor.studio.scale import score_axis
from sartor.studio.standing import Standing

_INSET = 3.0
"""Percent of the width kept free at both ends, for dots that stand on an end."""


@dataclass(frozen=True, slots=True)
class Tick:
    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Whisker:
    """One row: mean, low and high in percent of the width."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Board:
    """The shared axis, and each candidate's place on it."""

    ticks: tuple[Tick, ...]
    band: tuple[float, float] | None
    """From the best score less the margin up to the best score: left end and width."""
    whiskers: dict[str, Whisker]


def board(decision: Decision, rows: Sequence[Standing]) -> Board:
    """Lay all candidates' intervals out on one axis."""
    scored = {row.name: row.estimate for row in rows if row.estimate}
    best = max((estimate.mean for estimate in scored.values()), default=None)
    named = scored.get(decision.best or "")
    best = named.mean if named else best
    floor = None if best is None else best - decision.criteria.margin
    ends = [end for value in scored.values() for end in (value.low, value.mean, value.high)]
    axis = score_axis([*ends, *([] if floor is None else [floor])])

    def place(value: float, otherwise: float) -> float:
        known = value if math.isfinite(value) else otherwise
        return round(_INSET + (100 - 2 * _INSET) * axis.at(known), 2)

    band = None
    if best is not None and floor is not None and len(scored) > 1:
        left = place(floor, floor)
        band = (left, round(place(best, best) - left, 2))
    whiskers = {
        name: Whisker(place(e.mean, e.mean), place(e.low, e.mean), place(e.high, e.mean))
        for name, e in scored.items()
    }
    ticks = tuple(Tick(place(tick, tick), figures.points(tick)) for tick in axis.ticks)
    return Board(ticks, band, whiskers)
