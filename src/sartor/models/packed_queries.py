"""Attention in a row of prompts: some queries at a time, over the keys that these may see.

Plain matrix products; what several prompts begin with gives its keys and values to all of them.
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

    @property
    def is_plain(self) -> bool:
        """Whether it is a softmax of scores, and no more."""
        return self.softcap is None and self.sinks is None


@dataclass(slots=True)
class Span:
    """Consecutive places of the row: a node's, or a prompt's own."""

    start: int
    end: int
    of: Node | Leaf


@dataclass(slots=True)
class Queries:
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


def query_blocks(spans: Sequence[Span]) -> Iterator[Queries]:
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
            yield queries(span, start, end)
    if kin:
        yield _whole(kin)


def queries(span: Span, start: int, end: int) -> Queries:
    return Queries(start, end, span.of.before, ((start, end, span.start),))


def _whole(kin: Sequence[Span]) -> Queries:
    own = tuple((span.start, span.end, span.start) for span in kin)
    return Queries(kin[0].start, kin[-1].end, kin[0].of.before, own)


def attended(
    block: Queries, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
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
