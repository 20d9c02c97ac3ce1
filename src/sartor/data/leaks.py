"""Leaks: what a test part shares with what may be trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sartor.data.questions import normalized_input, paraphrases
from sartor.data.records import Example, Split
from sartor.errors import LeakError

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Two examples that belong together and lie in different parts."""

    seen: Example
    """The one a technique sees sooner: train before validation before test."""
    held_out: Example
    why: str
    parts: tuple[Part, Part]


def leaks(split: Split) -> list[str]:
    """What any two of train, validation and test share, one sentence each; empty when nothing."""
    found = crossings(split.training.train, split.training.validation, split.test)
    return [
        f"{one.seen.id} ({one.parts[0]}) and {one.held_out.id} ({one.parts[1]}) {one.why}"
        for one in found
    ]


def refuse_leaks(split: Split) -> None:
    """Raise a LeakError if anything is shared."""
    found = leaks(split)
    if found:
        raise LeakError(
            f"{len(found)} examples are on both sides of the split (first: {found[0]}). "
            "Give related examples the same group, or delete one of each pair."
        )


def crossings(
    train: Sequence[Example], validation: Sequence[Example], test: Sequence[Example]
) -> list[Crossing]:
    """Pairs across parts with one group, one input, or near-equal inputs and the same answer."""
    by_part: dict[Part, Sequence[Example]] = {
        "train": train,
        "validation": validation,
        "test": test,
    }
    parts = [part for part, members in by_part.items() for _ in members]
    examples = [*train, *validation, *test]
    found: dict[tuple[int, int], Crossing] = {}
    for why, clusters in _clusters(examples):
        for cluster in clusters:
            first = {parts[index]: index for index in reversed(cluster)}
            for index in cluster:
                for part, other in first.items():
                    if other < index and part != parts[index]:
                        pair = Crossing(examples[other], examples[index], why, (part, parts[index]))
                        found.setdefault((other, index), pair)
    return list(found.values())


def _clusters(examples: Sequence[Example]) -> Iterator[tuple[str, Iterable[list[int]]]]:
    yield "are in one group", _same([example.group for example in examples])
    yield "have the same input", _same([normalized_input(example) for example in examples])
    yield "ask nearly the same and have the same answer", paraphrases(examples)


def _same(keys: Sequence[str]) -> Iterable[list[int]]:
    members: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        if key:
            members.setdefault(key, []).append(index)
    return members.values()
