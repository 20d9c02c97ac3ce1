"""Names beside points, placed so that none covers another, a point, or the edge."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

CHARACTER = 6.9
"""Width of a usual character at the charts' 12.5-pixel type; wide scripts take twice that."""
HEIGHT = 15.0
_MARK = 8.0
_DISTANCES = (12.0, 26.0, 44.0, 66.0)
_SIDES = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1))


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def inside(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True, slots=True)
class Anchor:
    """A point that wants a name: the first text that fits is used."""

    x: float
    y: float
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """Where a name stands (the middle of its line), and whether a line must lead to it."""

    text: str
    box: Box
    far: bool


def width(text: str) -> float:
    """About how wide a text is, in the chart's units."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return (len(text) + 0.8 * wide) * CHARACTER


def mark_box(x: float, y: float) -> Box:
    return Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK)


def place_labels(
    anchors: Sequence[Anchor], frame: Box, lines: Sequence[Box] = ()
) -> list[Label | None]:
    """One label an anchor, in order; None where nothing fits. `lines` are crossed only at need."""
    marks = [mark_box(anchor.x, anchor.y) for anchor in anchors]
    taken: list[Box] = []
    placed: list[Label | None] = []
    for anchor in anchors:
        label = _best_label(anchor, frame, [*marks, *taken], lines)
        placed.append(label)
        if label:
            taken.append(label.box)
    return placed


def _best_label(
    anchor: Anchor, frame: Box, solid: Sequence[Box], lines: Sequence[Box]
) -> Label | None:
    for text in anchor.texts:
        choices = [
            (order + 5 * sum(box.meets(line) for line in lines), order, box, distance)
            for order, (distance, side) in enumerate(product(_DISTANCES, _SIDES))
            if (box := _box(anchor, text, distance, side)).inside(frame)
            and not any(box.meets(other) for other in solid)
        ]
        if choices:
            _, _, box, distance = min(choices, key=lambda choice: choice[:2])
            return Label(text, box, far=distance > _DISTANCES[0])
    return None


def _box(anchor: Anchor, text: str, distance: float, side: tuple[int, int]) -> Box:
    across, down = side
    wide = width(text)
    middle_x = anchor.x + across * (distance + wide / 2 if not down else wide / 2 + distance * 0.6)
    middle_y = anchor.y + down * (distance + 4)
    return Box(
        middle_x - wide / 2, middle_y - HEIGHT / 2, middle_x + wide / 2, middle_y + HEIGHT / 2
    )
