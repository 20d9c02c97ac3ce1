"""What prompts begin with, as a tree: a node is a run of tokens that all prompts under it share.

A system prompt over all of them, an example block over some, a passage over a few: each is read
once, and its keys and values stand once for all that begin with it. Knows nothing of networks but
that they leave keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WORTH_SHARING = 8
"""Tokens; a shorter common beginning is not worth a product of its own."""
WORTH_SAVING = 24
"""Tokens that a node must spare its prompts together."""


@dataclass(eq=False, slots=True)
class Node:
    """A run of tokens that several prompts have in the same place, behind the same tokens."""

    tokens: tuple[int, ...]
    before: tuple[Node, ...] = ()
    """What stands before it, from the root."""
    virtual: int = 0
    """Places at its start that hold embeddings, or keys and values, instead of tokens."""
    keys: list[torch.Tensor] = field(default_factory=list)
    """By layer, once it has been read: (key heads, places, width)."""
    values: list[torch.Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return self.virtual + len(self.tokens)

    @property
    def offset(self) -> int:
        """Position of its first place."""
        return sum(map(len, self.before))


@dataclass(eq=False, slots=True)
class Leaf:
    """A prompt: what stands before it in the tree, and at least one token of its own."""

    row: int
    tokens: tuple[int, ...]
    before: tuple[Node, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def offset(self) -> int:
        """Position of its first token."""
        return sum(map(len, self.before))


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, leaving each at least one of its own."""
    ordered = sorted(map(list, prompts))  # lexicographic ends bound all between
    return _same(ordered[0], ordered[-1], min(map(len, prompts)) - 1)


def _same(one: Sequence[int], other: Sequence[int], most: int) -> int:
    pairs = zip(one[:most], other[:most], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def leaves(
    prompts: Sequence[Sequence[int]],
    root: Node | None = None,
    *,
    share: bool = True,
    worth: int = WORTH_SHARING,
    saving: int = WORTH_SAVING,
) -> list[Leaf]:
    """Every prompt, kin beside kin and else the longest first: the dearest comes at once.

    A common run becomes a node from `worth` tokens on, if it spares `saving` of them.
    """
    order = sorted(range(len(prompts)), key=lambda row: list(prompts[row]))
    kin = [
        _same(prompts[a], prompts[b], min(len(prompts[a]), len(prompts[b])) - 1) if share else 0
        for a, b in pairwise(order)
    ]  # of neighbours; of a run of them, it is the least between
    made: list[Leaf] = []
    waiting = [(0, len(order), 0, () if root is None else (root,))]
    while waiting:  # no recursion: prompts may branch at every token
        start, end, depth, before = waiting.pop()
        if end - start == 1:
            made.append(Leaf(order[start], tuple(prompts[order[start]][depth:]), before))
            continue
        same = min(kin[start : end - 1])
        own = same - depth
        if own >= worth and own * (end - start - 1) >= saving:
            node = Node(tuple(prompts[order[start]][depth:same]), before)
            depth, before = same, (*before, node)
        parts = [(a, b, depth, before) for a, b in _parts(kin, start, end, same)]
        longest = [max(len(prompts[order[i]]) for i in range(a, b)) for a, b, *_ in parts]
        waiting += [
            part for _, part in sorted(zip(longest, parts, strict=True), key=lambda p: p[0])
        ]
    return made


def _parts(kin: Sequence[int], start: int, end: int, same: int) -> Iterator[tuple[int, int]]:
    """The runs of prompts that go on together where those from start to end part."""
    first = start
    for place in range(start, end - 1):
        if kin[place] == same:
            yield first, place + 1
            first = place + 1
    yield first, end
