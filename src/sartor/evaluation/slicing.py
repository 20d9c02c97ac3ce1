"""Which slices an example belongs to: its tags, and what can be seen of it.

Length of the request (by thirds), the document it stands on, whether it can be answered and its
evidence is known, its language. A slice that holds every example says nothing and is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sartor.data.records import Example
from sartor.evaluation.language import language_of

SMALLEST_SLICE = 5
"""Examples; an interval over fewer says nothing."""
MOST_DOCUMENTS = 20
"""Slices by document: those that most examples stand on."""


def slices(examples: Iterable[Example]) -> dict[str, tuple[Example, ...]]:
    """Examples by slice; those of fewer than SMALLEST_SLICE are left out."""
    everything = tuple(examples)
    found: dict[str, list[Example]] = {}
    for example in everything:
        for tag in sorted(set(example.tags)):
            found.setdefault(tag, []).append(example)
    found = {tag: found[tag] for tag in sorted(found)}
    for name, members in _seen(everything).items():
        if len(members) < len(everything):
            found.setdefault(name, members)
    return {
        name: tuple(members) for name, members in found.items() if len(members) >= SMALLEST_SLICE
    }


def _seen(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Slices that nobody had to name."""
    found: dict[str, list[Example]] = {
        "answerable": [example for example in examples if example.answerable],
        "unanswerable": [example for example in examples if not example.answerable],
        "has evidence": [example for example in examples if example.evidence],
    }
    found |= _by_length(examples)
    found |= _by_document(examples)
    for example in examples:
        if language := language_of(_asked(example)):
            found.setdefault(f"language: {language}", []).append(example)
    return found


def _by_length(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Thirds by words of the last turn; fewer where most requests are equally long."""
    lengths = [len(_asked(example).split()) for example in examples]
    if not lengths:
        return {}
    ordered = sorted(lengths)
    low, high = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]
    found: dict[str, list[Example]] = {}
    for example, length in zip(examples, lengths, strict=True):
        if length < low:
            found.setdefault(f"length: under {low} words", []).append(example)
        elif length > high:
            found.setdefault(f"length: over {high} words", []).append(example)
        else:
            middle = f"{low} to {high}" if low < high else f"{low}"
            found.setdefault(f"length: {middle} words", []).append(example)
    return found


def _by_document(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """By what they stand on: the documents named as evidence, else the group."""
    stands_on = [
        example.evidence or ((example.group,) if example.group else ()) for example in examples
    ]
    counts = Counter(name for names in stands_on for name in set(names))
    most = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_DOCUMENTS]
    kept = {name for name in most if counts[name] >= SMALLEST_SLICE}
    found: dict[str, list[Example]] = {}
    for example, names in zip(examples, stands_on, strict=True):
        for name in sorted(kept.intersection(names)):
            found.setdefault(f"document: {name}", []).append(example)
    return found


def _asked(example: Example) -> str:
    return example.input[-1].content if example.input else ""
