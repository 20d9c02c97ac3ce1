"""Requests whose only answers were judged wrong: what becomes of them beside the split.

Nothing can be tested on them, so they are no part of it; they stand beside the examples that are
trained on, unless what is held out asks the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sartor.data.cleaning import normalized
from sartor.data.questions import asking_alike, normalized_input
from sartor.data.records import Dropped, Example


@dataclass(frozen=True, slots=True)
class Joined:
    """Examples with the rejected answers of those that ask the same, and those that are left."""

    answered: tuple[Example, ...]
    disliked: tuple[Example, ...]


def joined(examples: Sequence[Example]) -> Joined:
    """Put a rejected answer beside the right one where the same input has both."""
    right = [example for example in examples if example.targets]
    places: dict[str, list[int]] = {}
    for place, example in enumerate(right):
        places.setdefault(normalized_input(example), []).append(place)
    left: dict[str, Example] = {}
    for example in examples:
        if example.targets:
            continue
        asks = normalized_input(example)
        for place in places.get(asks, ()):
            right[place] = _with(right[place], example.rejected)
        if asks not in places:
            left[asks] = _with(left.get(asks, example), example.rejected)
    return Joined(tuple(right), tuple(left.values()))


def _with(example: Example, rejected: Sequence[str]) -> Example:
    """With further rejected answers; one that is right somewhere else stays right."""
    right = {normalized(target) for target in example.targets}
    wrong = [text for text in rejected if normalized(text) not in right]
    return replace(example, rejected=tuple(dict.fromkeys([*example.rejected, *wrong])))


def apart(
    disliked: Sequence[Example], held_out: Sequence[Example], groups: dict[str, str]
) -> tuple[tuple[Example, ...], tuple[Dropped, ...]]:
    """Those that ask nothing that is held out, and those that do; `groups` are the groups that
    users gave to examples, by id."""
    given = {groups[one.id] for one in held_out if groups.get(one.id)}
    near: set[int] = set()
    for cluster in asking_alike((*disliked, *held_out)):
        if any(place >= len(disliked) for place in cluster):
            near |= {place for place in cluster if place < len(disliked)}
    same = {normalized_input(one) for one in held_out}
    kept, dropped = [], []
    for place, one in enumerate(disliked):
        if place in near or normalized_input(one) in same or one.group in given - {""}:
            reason = "has no right answer, and asks what is held out"
            dropped.append(Dropped(one.id, "example", reason, one.source))
        else:
            kept.append(one)
    return tuple(kept), tuple(dropped)
