"""Prompts read together in one row without padding: each place sees its own prompt alone.

What several prompts begin with stands once, in nodes; their keys and values are kept there, and may
have been read in an earlier row. Those of the prompts' own stay here until they are laid out to be
written behind (packed_blocks.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol

import torch

from sartor.kernels import attention, calls
from sartor.models.packed_queries import Heads, Queries, Span, attended, queries, query_blocks
from sartor.models.prefix_tree import Leaf, Node


class Keeper(Protocol):
    """What holds keys and values of answers, by their place in it and by layer."""

    def own(self, place: int, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of one answer's own tokens: (key heads, tokens, width)."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One answer, and where its own keys and values are."""

    leaf: Leaf
    of: Keeper
    place: int
    """In that."""
    length: int
    """Tokens: the prompt's own and those written, but the newest."""


class Reading:
    """One row of nodes and prompts, to be put through a network once."""

    def __init__(self, taken: Sequence[Leaf], asked: Sequence[int] | None = None) -> None:
        """`asked`: of how many places of each prompt, its last ones, something is to be known."""
        self.asked = asked or [1] * len(taken)
        self.spans: list[Span] = []
        placed: set[int] = set()
        for leaf in taken:
            for node in leaf.before:
                if not node.keys and id(node) not in placed:
                    placed.add(id(node))
                    self._place(node)
            self._place(leaf)
        self.left = [span for span in self.spans if isinstance(span.of, Leaf)]
        """Of the prompts whose answers go on."""
        self._seen: dict[tuple[str, int | None], attention.Blocks] = {}
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
        """The places asked for, of every prompt in their order."""
        return [place for _, start, end in self._asked_of() for place in range(start, end)]

    @cached_property
    def blocks(self) -> list[Queries]:
        """Queries that are put through together where they are not compiled."""
        return list(query_blocks(self.spans))

    def _asked_of(self) -> list[tuple[Span, int, int]]:
        """Prompts, and which of their places are asked for, from one to another."""
        spans = [span for span in self.spans if isinstance(span.of, Leaf)]
        pairs = zip(spans, self.asked, strict=True)
        return [(span, span.end - count, span.end) for span, count in pairs]

    @property
    def leaves(self) -> list[Leaf]:
        """The prompts whose answers go on."""
        return [span.of for span in self.left if isinstance(span.of, Leaf)]

    def __len__(self) -> int:
        return len(self.left)

    def drop(self, place: int) -> None:
        """A prompt's answer ended with its first token."""
        self.left.pop(place)

    def parts(self) -> list[Part]:
        """What is laid out to be written behind."""
        return [Part(leaf, self, i, len(leaf)) for i, leaf in enumerate(self.leaves)]

    def own(self, place: int, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a prompt's own tokens: (key heads, tokens, width)."""
        at = slice(self.left[place].start, self.left[place].end)
        return self.keys[layer][:, at], self.values[layer][:, at]

    def forget(self, layer: int) -> None:
        """Give its memory back."""
        self.keys[layer] = self.values[layer] = self.keys[layer].new_empty(0)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
    ) -> torch.Tensor:
        """Query (heads, places, width), key and value (key heads, places, width); layers come in
        their order. Returns (places, heads, width of values)."""
        self._keep(layer, key, value)
        if _is_compiled(query, key, value, heads):
            asking = [(span, span.start, span.end) for span in self.spans]
            return self._compiled("all", asking, layer, query, key, value, heads)
        at = [(block.start, block.end) for block in self.blocks]
        return self._attend(self.blocks, at, layer, query, key, value, heads)

    def attend_last(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
    ) -> torch.Tensor:
        """The same for queries (heads, places, width) of the places asked for."""
        self._keep(layer, key, value)
        if _is_compiled(query, key, value, heads):
            return self._compiled("last", self._asked_of(), layer, query, key, value, heads)
        ends = [0, *accumulate(self.asked)]
        blocks = [queries(*asked) for asked in self._asked_of()]
        return self._attend(blocks, list(pairwise(ends)), layer, query, key, value, heads)

    def _keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """For what will be read or written behind them."""
        assert layer == len(self.keys), "layers are run in their order, each once"
        self.keys.append(_own(key))
        self.values.append(_own(value))
        for span in self.spans:
            if isinstance(span.of, Node):  # whole, for all that will begin with it
                span.of.keys.append(key[:, span.start : span.end].contiguous())
                span.of.values.append(value[:, span.start : span.end].contiguous())

    def _attend(
        self, blocks: Sequence[Queries], at: Sequence[tuple[int, int]], layer: int,
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads,
    ) -> torch.Tensor:  # fmt: skip
        """`at`: where each block's queries are."""
        kinds, (count, places, width) = len(key), query.shape
        grouped = query.reshape(kinds, count // kinds, places, width) * heads.scaling
        out = query.new_empty(places, kinds, count // kinds, value.shape[-1])
        for block, (start, end) in zip(blocks, at, strict=True):
            made = attended(block, layer, grouped[:, :, start:end], key, value, heads)
            out[start:end] = made.permute(2, 0, 1, 3)
        return out.view(places, count, -1)

    def _compiled(
        self, which: str, asking: Sequence[tuple[Span, int, int]], layer: int,
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads,
    ) -> torch.Tensor:  # fmt: skip
        """All of it in one call; `asking`: places of each span from one to another, which are the
        same each time for the same `which`."""
        kinds, count = len(key), len(query)
        q = calls.laid_out(query.transpose(0, 1), kinds, None, heads.scaling)
        before = self._read_before
        k = torch.cat([key, *(node.keys[layer] for node in before)], 1)
        v = torch.cat([value, *(node.values[layer] for node in before)], 1)
        if (which, heads.window) not in self._seen:
            self._seen[which, heads.window] = self._who_sees_what(asking, heads.window, before)
        return attention.attended(q, k, v, self._seen[which, heads.window], count // kinds)[0]

    @cached_property
    def _read_before(self) -> list[Node]:
        """Nodes that prompts here begin with, whose keys come from an earlier row."""
        here = {id(span.of) for span in self.spans}
        of_all = [node for span in self.spans for node in span.of.before]
        return list({id(node): node for node in of_all if id(node) not in here}.values())

    def _who_sees_what(
        self, asking: Sequence[tuple[Span, int, int]], window: int | None, before: Sequence[Node]
    ) -> attention.Blocks:
        """In keys of this row, and behind them those of nodes read `before`."""
        places = {id(span.of): torch.arange(span.start, span.end) for span in self.spans}
        end = self.spans[-1].end
        for node in before:
            places[id(node)], end = torch.arange(end, end + len(node)), end + len(node)
        made, row = [], 0
        for span, first, last in asking:
            shared = [places[id(node)] for node in span.of.before]
            keys = torch.cat([*shared, places[id(span.of)][: last - span.start]])
            made.append(attention.Asking(row, last - first, keys))
            row += last - first
        return attention.blocks(made, window)


def _is_compiled(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads) -> bool:
    return heads.is_plain and attention.fits(query, key, value)


def _own(states: torch.Tensor) -> torch.Tensor:
    """In memory of its own, where it is a part of something larger: that is not kept."""
    return states if states.nbytes == states.untyped_storage().nbytes() else states.clone()
