"""Prompts read together in one row without padding: each place sees its own prompt alone.

What several prompts begin with stands once, in nodes; their keys and values are kept there, and may
have been read in an earlier row. Plain matrix products, some queries at a time, over the keys that
these may see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from sartor.models.prefix_tree import Leaf, Node

QUERIES = 48
"""At a time, of one prompt: more compute the half that is hidden, fewer make small products."""
TOGETHER = 384
"""At a time, of several short prompts behind the same nodes."""


class Heads(NamedTuple):
    """What a layer's attention is to do beside its products."""

    scaling: float
    window: int | None = None
    """Keys that a query sees, its own included."""
    softcap: float | None = None
    sinks: torch.Tensor | None = None
    """(heads,): a score that takes its part of the softmax and gives nothing."""


@dataclass(slots=True)
class Span:
    """Consecutive places of the row: a node's, or a prompt's own."""

    start: int
    end: int
    of: Node | Leaf


@dataclass(slots=True)
class _Block:
    """Queries that are put through together: some of one span, or several spans whole."""

    start: int
    end: int
    nodes: tuple[Node, ...]
    own: tuple[tuple[int, int, int], ...]
    """Of each span: its queries from and to, and where its keys start."""
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    @property
    def before(self) -> int:
        """Keys of the nodes."""
        return sum(map(len, self.nodes))

    @property
    def width(self) -> int:
        return self.before + max(end - first for _, end, first in self.own)

    def hidden(self, window: int | None, device: torch.device) -> torch.Tensor:
        """Which of the last keys a query must not see; (queries, keys), made once a row."""
        if window not in self.masks:
            keys = torch.arange(self.width, device=device)
            positions = (
                torch.cat(
                    [torch.arange(a - first, b - first, device=device) for a, b, first in self.own]
                )[:, None]
                + self.before
            )
            unseen = keys > positions
            if window is not None:
                unseen |= keys <= positions - window
            elif len(self.own) == 1:  # all see what is before the first of them
                unseen = unseen[:, self.width - len(unseen) :]
            else:
                unseen = unseen[:, self.before :]
            self.masks[window] = unseen
        return self.masks[window]


class Reading:
    """One row of nodes and prompts, to be put through a network once."""

    def __init__(self, taken: Sequence[Leaf]) -> None:
        self.spans: list[Span] = []
        placed: set[int] = set()
        for leaf in taken:
            for node in leaf.before:
                if not node.keys and id(node) not in placed:
                    placed.add(id(node))
                    self._place(node)
            self._place(leaf)
        self.blocks = list(_blocks(self.spans))
        self._ends: list[_Block] | None = None
        self.keys: list[torch.Tensor] = []
        """By layer, of the whole row: (key heads, places, width)."""
        self.values: list[torch.Tensor] = []

    def _place(self, of: Node | Leaf) -> None:
        start = self.spans[-1].end if self.spans else 0
        self.spans.append(Span(start, start + len(of), of))

    @property
    def positions(self) -> list[int]:
        """Of every place, in its prompt."""
        return [p for s in self.spans for p in range(s.of.offset, s.of.offset + len(s.of))]

    @property
    def tokens(self) -> list[int]:
        """Without virtual places, which can only be the first."""
        return [token for span in self.spans for token in span.of.tokens]

    @property
    def last(self) -> list[int]:
        """The last place of every prompt, in their order."""
        return [span.end - 1 for span in self.spans if isinstance(span.of, Leaf)]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
    ) -> torch.Tensor:
        """Query (heads, places, width), key and value (key heads, places, width); layers come in
        their order. Returns (places, heads, width of values)."""
        at = [(block.start, block.end) for block in self.blocks]
        return self._attend(self.blocks, at, layer, query, key, value, heads)

    def attend_last(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
    ) -> torch.Tensor:
        """The same for queries (heads, prompts, width) of the last place of every prompt."""
        if self._ends is None:
            spans = [span for span in self.spans if isinstance(span.of, Leaf)]
            self._ends = [_part(span, span.end - 1, span.end) for span in spans]
        at = [(i, i + 1) for i in range(len(self._ends))]
        return self._attend(self._ends, at, layer, query, key, value, heads)

    def _attend(
        self, blocks: Sequence[_Block], at: Sequence[tuple[int, int]], layer: int,
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads,
    ) -> torch.Tensor:  # fmt: skip
        """`at`: where each block's queries are."""
        assert layer == len(self.keys), "layers are run in their order, each once"
        self.keys.append(key)
        self.values.append(value)
        for span in self.spans:
            if isinstance(span.of, Node):  # whole, for all that will begin with it
                span.of.keys.append(key[:, span.start : span.end].contiguous())
                span.of.values.append(value[:, span.start : span.end].contiguous())
        kinds, (count, places, width) = len(key), query.shape
        grouped = query.reshape(kinds, count // kinds, places, width) * heads.scaling
        out = query.new_empty(places, kinds, count // kinds, value.shape[-1])
        for block, (start, end) in zip(blocks, at, strict=True):
            made = _attended(block, layer, grouped[:, :, start:end], key, value, heads)
            out[start:end] = made.permute(2, 0, 1, 3)
        return out.view(places, count, -1)


def _blocks(spans: Sequence[Span]) -> Iterator[_Block]:
    """Short prompts behind the same nodes together; others alone, some queries at a time."""
    kin: list[Span] = []
    for span in spans:
        alike = kin and kin[0].of.before == span.of.before and kin[-1].end == span.start
        if kin and not (alike and span.end - kin[0].start <= TOGETHER):
            yield _whole(kin)
            kin = []
        if span.of.before and len(span.of) <= QUERIES:
            kin.append(span)
            continue
        for start in range(span.start, span.end, QUERIES):
            end = min(start + QUERIES, span.end)
            yield _part(span, start, end)
    if kin:
        yield _whole(kin)


def _part(span: Span, start: int, end: int) -> _Block:
    return _Block(start, end, span.of.before, ((start, end, span.start),))


def _whole(kin: Sequence[Span]) -> _Block:
    own = tuple((span.start, span.end, span.start) for span in kin)
    return _Block(kin[0].start, kin[-1].end, kin[0].of.before, own)


def _attended(
    block: _Block, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    heads: Heads,
) -> torch.Tensor:  # fmt: skip
    """Query (key heads, groups, queries, width), scaled; returns that with the values' width."""
    kinds, groups, count, width = query.shape
    rows = query.reshape(kinds, groups * count, width)
    parts = [torch.bmm(rows, node.keys[layer].transpose(1, 2)) for node in block.nodes]
    alone = len(block.own) == 1
    own = block.width - block.before
    if alone:
        [(_, end, first)] = block.own
        parts.append(torch.bmm(rows, key[:, first:end].transpose(1, 2)))
    else:
        scores = query.new_zeros(kinds, groups, count, own)
        for start, end, first in block.own:
            at = slice(start - block.start, end - block.start)
            some = query[:, :, at].reshape(kinds, -1, width)
            found = torch.bmm(some, key[:, first:end].transpose(1, 2))
            scores[:, :, at, : end - first] = found.view(kinds, groups, -1, end - first)
        parts.append(scores.view(kinds, groups * count, own))
    scores = torch.cat(parts, -1) if len(parts) > 1 else parts[0]
    hidden = block.hidden(heads.window, query.device)[None, None]
    sinks = None if heads.sinks is None else heads.sinks.view(kinds, groups, 1, 1)
    chances = softmax(scores.view(kinds, groups, count, -1), hidden, heads, sinks)
    square = chances.view(kinds, groups * count, -1)
    lengths = [*map(len, block.nodes), own]
    seen = torch.split(square, lengths, -1) if block.nodes else (square,)
    if alone:
        [(_, end, first)] = block.own
        out = torch.bmm(seen[-1], value[:, first:end])
    else:
        out = query.new_empty(kinds, groups * count, value.shape[-1])
        of_queries = out.view(kinds, groups, count, -1)
        last = seen[-1].view(kinds, groups, count, own)
        for start, end, first in block.own:
            at = slice(start - block.start, end - block.start)
            some = last[:, :, at, : end - first].reshape(kinds, -1, end - first)
            found = torch.bmm(some, value[:, first:end])
            of_queries[:, :, at] = found.view(kinds, groups, end - start, -1)
    for node, part in zip(block.nodes, seen, strict=False):
        out = torch.baddbmm(out, part, node.values[layer])
    return out.view(kinds, groups, count, -1)


def softmax(
    scores: torch.Tensor, hidden: torch.Tensor | None, heads: Heads, sinks: torch.Tensor | None
) -> torch.Tensor:
    """What each query gives each key; scores (..., keys) are changed, sinks (..., 1) spread."""
    if heads.softcap is not None:
        scores = heads.softcap * torch.tanh(scores / heads.softcap)
    if hidden is not None:  # of the last keys: what stands before them, all may see
        scores[..., scores.shape[-1] - hidden.shape[-1] :].masked_fill_(hidden, float("-inf"))
    if sinks is None:
        return torch.softmax(scores, -1)
    taken = sinks.to(scores.dtype).expand(*scores.shape[:-1], 1)
    return torch.softmax(torch.cat([scores, taken], -1), -1)[..., :-1].contiguous()
