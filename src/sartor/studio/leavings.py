"""What was left out of the data, gathered by kind of reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from sartor.data.records import Dropped

MOST_EXAMPLES = 3
_ALIKE = 3
"""Reasons of one kind start with so many equal words; ids and numbers come later."""
_NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True, slots=True)
class Leaving:
    """Things left out for one kind of reason, most first."""

    kind: str
    reason: str
    """What the reasons have in common; an ellipsis stands for ids and numbers."""
    count: int
    first: tuple[Dropped, ...]


def leavings(dropped: Sequence[Dropped]) -> list[Leaving]:
    """Group what was dropped; the order of what came first is kept inside a group."""
    groups: dict[tuple[str, str], list[Dropped]] = {}
    for one in dropped:
        groups.setdefault((one.kind, _kind_of(one.reason)), []).append(one)
    ranked = sorted(groups.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    return [
        Leaving(kind, _headline(members), len(members), tuple(members[:MOST_EXAMPLES]))
        for (kind, _), members in ranked
    ]


def _kind_of(reason: str) -> str:
    return " ".join(_NUMBER.sub("\u2026", reason).split()[:_ALIKE])


def _headline(members: Sequence[Dropped]) -> str:
    """What all reasons have in common at their start and at their end."""
    words = [member.reason.split() for member in members]
    shortest = min(len(each) for each in words)
    start = _alike([each[:shortest] for each in words])
    end = _alike([each[len(each) - shortest + start :][::-1] for each in words])
    first = words[0]
    if start == len(first) and all(len(each) == start for each in words):
        return " ".join(first)
    return " ".join([*first[:start], "\u2026", *first[len(first) - end :]])


def _alike(rows: Sequence[Sequence[str]]) -> int:
    """How many words at the start are the same in all rows."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=True)))
