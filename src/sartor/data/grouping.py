"""Groups: which examples must stay on one side of the split.

Always tied: the same input, near-equal inputs with the same answer, the same `group` given by the
user. Examples without a given group are also tied by the documents that hold their answers, rarest
document first, as long as no group grows past a fifth of all examples: a document that everyone
cites (terms of service, say) would otherwise make one group of everything, and nothing could be
held out. Examples such a document leaves untied still differ in text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from sartor.data.near_copies import Ties
from sartor.data.questions import normalized_input, paraphrases
from sartor.data.records import Example

_LARGEST_SHARE = 0.2  # of the examples, in a group tied by documents; about what a test part holds


@dataclass(frozen=True, slots=True)
class Grouped:
    """Examples that all have a group."""

    examples: tuple[Example, ...]
    too_common: tuple[str, ...]
    """Ids of documents cited so often that they tie nothing."""


def grouped(examples: Sequence[Example], alike: Sequence[Sequence[str]] = ()) -> Grouped:
    """Give every example its group; `alike` are ids of documents that count as one."""
    ties = Ties(len(examples))
    inputs = [normalized_input(example) for example in examples]
    for members in _by_key(inputs).values():
        _tie_all(ties, members)
    for members in _by_key([example.group for example in examples]).values():
        _tie_all(ties, members)
    for members in paraphrases(examples):
        _tie_all(ties, members)
    too_common = _tie_by_documents(ties, examples, alike)
    names = _names(ties, examples, inputs, set(too_common))
    named = tuple(
        replace(example, group=name) for example, name in zip(examples, names, strict=True)
    )
    return Grouped(named, too_common)


def _tie_by_documents(
    ties: Ties, examples: Sequence[Example], alike: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    stands_for = {id: cluster[0] for cluster in alike for id in cluster}
    citing: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        for id in example.evidence if not example.group else ():
            citing.setdefault(stands_for.get(id, id), []).append(index)
    too_common: list[str] = []
    for id, members in sorted(citing.items(), key=lambda item: (len(item[1]), item[0])):
        whole = sum(ties.size(root) for root in {ties.root(member) for member in members})
        if len(members) > 1 and whole > max(2, _LARGEST_SHARE * len(examples)):
            too_common += [other for other, first in stands_for.items() if first == id] or [id]
        else:
            _tie_all(ties, members)
    return tuple(too_common)


def _names(
    ties: Ties, examples: Sequence[Example], inputs: Sequence[str], too_common: set[str]
) -> list[str]:
    """A group is called what the user called it, or by a document that ties it, or by an input."""
    calls: dict[int, tuple[int, str]] = {}
    for index, example in enumerate(examples):
        root = ties.root(index)
        own = _call(example, inputs[index], too_common)
        calls[root] = min(calls.get(root, own), own)
    return [calls[ties.root(index)][1] for index in range(len(examples))]


def _call(example: Example, text: str, too_common: set[str]) -> tuple[int, str]:
    if example.group:
        return 0, example.group
    tying = [id for id in example.evidence if id not in too_common]
    if tying:
        return 1, f"document {min(tying)}"
    return 2, f"input {sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _by_key(keys: Sequence[str]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        if key:
            members.setdefault(key, []).append(index)
    return members


def _tie_all(ties: Ties, members: Sequence[int]) -> None:
    for member in members[1:]:
        ties.tie(members[0], member)
