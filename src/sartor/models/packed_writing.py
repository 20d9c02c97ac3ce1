"""Answers written together, a token each at a time, behind keys and values that were read before.

Their own stand in blocks (packed_blocks.py); what their prompts share stays in its node and is put
to all their queries at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from sartor.kernels import calls
from sartor.models.packed_blocks import Block
from sartor.models.packed_queries import Heads, softmax
from sartor.models.prefix_tree import Node


class Writing:
    """One token of every answer, to be put through a network once."""

    def __init__(
        self, written: Sequence[Block], positions: Sequence[int], device: torch.device
    ) -> None:
        self.blocks = written
        self.positions = torch.tensor(positions, device=device)
        self.leaves = [leaf for block in written for leaf in block.leaves]
        self.nodes = self._nodes()
        self.levels = self._levels()
        self.masks: dict[int | None, list[torch.Tensor | None]] = {}
        self.firsts: dict[int | None, list[torch.Tensor]] = {}
        self.shared_masks: dict[int | None, torch.Tensor] = {}

    def _nodes(self) -> list[tuple[Node, torch.Tensor | slice, int]]:
        """Every node, the answers behind it, and its depth."""
        found: dict[int, tuple[Node, list[int], int]] = {}
        for i, leaf in enumerate(self.leaves):
            for depth, node in enumerate(leaf.before):
                found.setdefault(id(node), (node, [], depth))[1].append(i)
        return [
            (node, _picked(rows, self.positions.device), depth)
            for node, rows, depth in found.values()
        ]

    def _levels(self) -> list[int]:
        """Where the keys of each depth start among all shared ones, and where they end."""
        longest: dict[int, int] = {}
        for node, _, depth in self.nodes:
            longest[depth] = max(longest.get(depth, 0), len(node))
        starts = [0]
        for depth in range(len(longest)):
            starts.append(starts[-1] + longest[depth])
        return starts

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
    ) -> torch.Tensor:
        """Query (heads, answers, width), key and value (key heads, answers, width).
        Returns (answers, heads, width of values)."""
        kinds, (count, answers, width) = len(key), query.shape
        groups = count // kinds
        rows = (query * heads.scaling).transpose(0, 1).reshape(answers, kinds, groups, width)
        keys, values = key.transpose(0, 1), value.transpose(0, 1)
        shared = self._shared_scores(layer, rows, heads) if self.nodes else None
        if self._is_compiled(layer, rows, heads):
            return self._compiled(layer, rows, keys, values, shared, heads).view(answers, count, -1)
        before = self.levels[-1]
        out = value.new_empty(answers, kinds, groups, value.shape[-1])
        chances = value.new_zeros(answers, kinds, groups, before) if self.nodes else None
        sinks = None if heads.sinks is None else heads.sinks.view(1, kinds, groups, 1)
        masks = self._masks(heads.window)
        for (block, at), mask in zip(self._by_block(), masks, strict=True):
            block.write(layer, keys[at], values[at])
            scores = block.scores(layer, rows[at].reshape(-1, groups, width))
            scores = scores.reshape(len(block), kinds, groups, -1)
            if shared is not None:
                scores = torch.cat([shared[at], scores], -1)
            given = softmax(scores, mask, heads, sinks)
            if chances is not None:
                chances[at] = given[..., :before]
                given = given[..., before:]
            made = block.weighed(layer, given.reshape(-1, groups, block.seen))
            out[at] = made.reshape(len(block), kinds, groups, -1)
        if chances is not None:
            self._add_shared(layer, chances, out)
        return out.view(answers, count, -1)

    def _is_compiled(self, layer: int, rows: torch.Tensor, heads: Heads) -> bool:
        by_place = all(block.lies_by_place for block in self.blocks)
        held = [t for block in self.blocks for t in (block.keys[layer], block.values[layer])]
        return heads.is_plain and by_place and calls.fits(rows, *held)

    def _compiled(
        self, layer: int, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor,
        shared: torch.Tensor | None, heads: Heads,
    ) -> torch.Tensor:  # fmt: skip
        """Rows (answers, key heads, groups, width), scaled; keys and values (answers, key heads,
        width). Returns rows of the values' width."""
        if shared is not None:
            hidden = self._shared_hidden(heads.window)
            shared.masked_fill_(hidden[:, None, None], float("-inf"))
        if heads.window not in self.firsts:  # once a token, for all layers
            self.firsts[heads.window] = [block.firsts(heads.window) for block in self.blocks]
        parts = []
        for (block, at), firsts in zip(self._by_block(), self.firsts[heads.window], strict=True):
            block.write(layer, keys[at], values[at])
            of_block = None if shared is None else shared[at]
            parts.append(block.answered(layer, rows[at], of_block, firsts))
        out = torch.cat(parts) if len(parts) > 1 else parts[0]
        if shared is not None:
            self._add_shared(layer, shared, out)
        return out

    def _by_block(self) -> Iterator[tuple[Block, slice]]:
        """Each block, and which of all answers it has."""
        start = 0
        for block in self.blocks:
            yield block, slice(start, start + len(block))
            start += len(block)

    def _add_shared(self, layer: int, chances: torch.Tensor, out: torch.Tensor) -> None:
        """Add what nodes give by chances (answers, key heads, groups, shared keys)."""
        kinds, groups = out.shape[1:3]
        for node, which, depth in self.nodes:
            first = self.levels[depth]
            given = chances[which][..., first : first + len(node)].transpose(0, 1)
            made = torch.bmm(given.reshape(kinds, -1, len(node)), node.values[layer])
            out[which] += made.view(kinds, -1, groups, made.shape[-1]).transpose(0, 1)

    def _shared_scores(self, layer: int, rows: torch.Tensor, heads: Heads) -> torch.Tensor:
        """Of every answer with what its prompt shares: (answers, key heads, groups, keys)."""
        answers, kinds, groups, width = rows.shape
        scores = rows.new_zeros(answers, kinds, groups, self.levels[-1])
        for node, which, depth in self.nodes:
            some = rows[which].transpose(0, 1).reshape(kinds, -1, width)
            found = torch.bmm(some, node.keys[layer].transpose(1, 2))
            first = self.levels[depth]
            found = found.view(kinds, -1, groups, len(node)).transpose(0, 1)
            scores[which, ..., first : first + len(node)] = found
        return scores

    def _masks(self, window: int | None) -> list[torch.Tensor | None]:
        """Of every block: (answers, 1, 1, keys), shared ones first; made once a token."""
        if window not in self.masks:
            made = []
            shared = self._shared_hidden(window) if self.nodes else None
            for block, at in self._by_block():
                own = block.hidden(self.positions[at], window)
                if shared is not None:
                    if own is None:
                        own = shared.new_zeros(len(block), block.seen)
                    own = torch.cat([shared[at], own], 1)
                made.append(None if own is None else own[:, None, None])
            self.masks[window] = made
        return self.masks[window]

    def _shared_hidden(self, window: int | None) -> torch.Tensor:
        """Of what is shared, what each answer must not see: (answers, keys); made once a token."""
        if window in self.shared_masks:
            return self.shared_masks[window]
        device = self.positions.device
        hidden = torch.ones(len(self.leaves), self.levels[-1], dtype=torch.bool, device=device)
        for node, which, depth in self.nodes:
            first = self.levels[depth]
            unseen = torch.zeros(1, len(node), dtype=torch.bool, device=device)
            if window is not None:
                places = torch.arange(node.offset, node.offset + len(node), device=device)
                unseen = places[None] <= self.positions[which][:, None] - window
            hidden[which, first : first + len(node)] = unseen
        self.shared_masks[window] = hidden
        return hidden


def _picked(rows: list[int], device: torch.device) -> torch.Tensor | slice:
    """Consecutive answers as a slice, which copies nothing."""
    if rows == list(range(rows[0], rows[-1] + 1)):
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows, device=device)
