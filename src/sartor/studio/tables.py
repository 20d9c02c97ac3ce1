"""Slices and scorers against candidates, as tables of numbers with a shade."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sartor.evaluation.records import Estimate
from sartor.evaluation.trust import said_of
from sartor.studio.standing import Standing

_SHADES = 5
FEW = 20
"""Below so many examples a slice's numbers are little to go by."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number; `shade` runs from 0 (low) to 5 (high)."""

    estimate: Estimate | None
    shade: int
    highest: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: a slice or a candidate."""

    name: str
    n: str
    few: bool
    cells: tuple[Cell, ...]


def slice_table(rows: Sequence[Standing], looked_at: Standing | None, scorer: str) -> list[Line]:
    """One line a slice, worst first for the candidate looked at; a column a candidate."""
    columns = [row.report.slices if row.report else {} for row in rows]
    names = sorted({name for column in columns for name in column})
    lines = []
    for name in names:
        estimates = [_known(column.get(name, {}).get(scorer)) for column in columns]
        if not any(estimates):
            continue
        own = next((e for row, e in zip(rows, estimates, strict=True) if row is looked_at), None)
        lines.append((own.mean if own else math.inf, name, _line(name, estimates)))
    return [line for _, _, line in sorted(lines, key=lambda entry: entry[:2])]


def scorer_names(rows: Sequence[Standing], first: str) -> list[str]:
    """All scorers, the one that decides first."""
    names = {name for row in rows if row.report for name in row.report.estimates}
    return sorted(names, key=lambda name: (name != first, name))


def scorer_cells(row: Standing, scorers: Sequence[str], rows: Sequence[Standing]) -> list[Cell]:
    """One candidate's line of the table of all scorers."""
    cells = []
    for scorer in scorers:
        column = [_known(other.report.estimates.get(scorer)) for other in rows if other.report]
        own = _known(row.report.estimates.get(scorer)) if row.report else None
        cells.append(_cell(own, _highest(column)))
    return cells


def scorer_notes(rows: Sequence[Standing]) -> list[tuple[str, str, str]]:
    """What must be known of scores to trust them: scorer, candidates, note; the same said once."""
    return said_of([row.report for row in rows if row.report])


def _known(estimate: Estimate | None) -> Estimate | None:
    """Empty slices have no mean."""
    if estimate is None or estimate.n == 0 or not math.isfinite(estimate.mean):
        return None
    return estimate


def _line(name: str, estimates: Sequence[Estimate | None]) -> Line:
    counts = sorted({estimate.n for estimate in estimates if estimate})
    n = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    highest = _highest(estimates)
    return Line(name, n, counts[0] < FEW, tuple(_cell(one, highest) for one in estimates))


def _highest(estimates: Iterable[Estimate | None]) -> float | None:
    """The highest of several means; none where there is nothing to compare."""
    means = [estimate.mean for estimate in estimates if estimate]
    return max(means) if len(means) > 1 and max(means) > min(means) else None


def _cell(estimate: Estimate | None, highest: float | None) -> Cell:
    if estimate is None:
        return Cell(None, 0, False)
    shade = round(min(1.0, max(0.0, estimate.mean)) * _SHADES)
    return Cell(estimate, shade, estimate.mean == highest)
