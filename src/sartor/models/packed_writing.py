"""Answers written together, a token each at a time, behind keys and values that were read before.

Answers of like length stand in one block of memory, ends aligned, with room for some tokens more;
what their prompts share stays in its node and is put to all their queries at once. A finished
answer's place is taken by the last one of its block.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sartor.models.packed_reading import Heads, Reading, softmax
from sartor.models.prefix_tree import Leaf, Node

ROOM = 32
"""Tokens that a block grows by; it is copied then."""
WASTE = 0.25
"""Part of a block that may be padding; prompts whose lengths differ more get another block."""


class Block:
    """Answers whose prompts' own parts are about as long."""

    def __init__(self, reading: Reading, spans: Sequence[tuple[Leaf, int, int]]) -> None:
        self.leaves = [leaf for leaf, _, _ in spans]
        longest = max(map(len, self.leaves))
        self.pads = [longest - len(leaf) for leaf in self.leaves]
        """Unused places before each; where the own part of a prompt starts."""
        self.used = longest
        self.room = longest + ROOM
        self.keys = [self._placed(tensor, spans) for tensor in reading.keys]
        self.values = [self._placed(tensor, spans) for tensor in reading.values]
        """By layer: (answers, key heads, room, width); values in float32 (..., width, room), as
        products with one query then read them in the order of memory."""
        if not self.whole:
            self.values = [tensor.transpose(2, 3).contiguous() for tensor in self.values]

    def _placed(self, row: torch.Tensor, spans: Sequence[tuple[Leaf, int, int]]) -> torch.Tensor:
        made = row.new_zeros(len(spans), row.shape[0], self.room, row.shape[2])
        for i, (_, start, end) in enumerate(spans):
            made[i, :, self.pads[i] : self.used] = row[:, start:end]
        return made

    def __len__(self) -> int:
        return len(self.leaves)

    @property
    def whole(self) -> bool:
        """Whether products go over all places: bfloat16's are slow on parts of the memory."""
        return self.keys[0].dtype == torch.bfloat16

    @property
    def seen(self) -> int:
        """Places that products go over."""
        return self.room if self.whole else self.used

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Of every answer's newest token: (answers, key heads, width)."""
        count, at = len(self), self.used - 1
        self.keys[layer][:count, :, at] = keys
        kept = self.values[layer][:count]
        (kept if self.whole else kept.transpose(2, 3))[:, :, at] = values

    def scores(self, layer: int, queries: torch.Tensor) -> torch.Tensor:
        """Queries (answers * key heads, groups, width) with the keys: (..., groups, seen)."""
        keys = self.keys[layer][: len(self)].flatten(0, 1)[:, : self.seen]
        if self.whole:
            return torch.bmm(queries, keys.transpose(1, 2))
        return torch.bmm(keys, queries.transpose(1, 2)).transpose(1, 2)

    def weighed(self, layer: int, chances: torch.Tensor) -> torch.Tensor:
        """Values by chances (answers * key heads, groups, seen): (..., groups, width)."""
        values = self.values[layer][: len(self)].flatten(0, 1)
        if self.whole:
            return torch.bmm(chances, values[:, : self.seen])
        return torch.bmm(values[..., : self.seen], chances.transpose(1, 2)).transpose(1, 2)

    def advance(self) -> None:
        """Make a place for every answer's next token."""
        self.used += 1
        if self.used > self.room:
            spare = min(self.pads)  # room that nobody uses is given up
            self.pads = [pad - spare for pad in self.pads]
            self.used -= spare
            self.room = self.used - 1 + ROOM
            self.keys = [self._grown(tensor, spare) for tensor in self.keys]
            last = not self.whole
            self.values = [self._grown(tensor, spare, last=last) for tensor in self.values]

    def _grown(self, tensor: torch.Tensor, spare: int, *, last: bool = False) -> torch.Tensor:
        """With more room; `last` where places are the last dimension."""
        axis = 3 if last else 2
        shape = [len(self), *tensor.shape[1:]]
        shape[axis] = self.room
        made, kept = tensor.new_zeros(shape), self.used - 1
        made.narrow(axis, 0, kept).copy_(tensor[: len(self)].narrow(axis, spare, kept))
        return made

    def drop(self, place: int) -> None:
        """Forget an answer; the last one takes its place."""
        last = len(self) - 1
        if place != last:
            for tensor in (*self.keys, *self.values):
                tensor[place] = tensor[last]
            self.leaves[place], self.pads[place] = self.leaves[last], self.pads[last]
        self.leaves.pop()
        self.pads.pop()

    def hidden(self, positions: torch.Tensor, window: int | None) -> torch.Tensor | None:
        """Which places each answer (at `positions`) must not see: (answers, seen), or None."""
        places = torch.arange(self.seen, device=positions.device)
        pads = torch.tensor(self.pads, device=positions.device)[:, None]
        unseen = (places >= self.used) | (places < pads)
        if window is not None:
            unseen |= places < self.used - window
        return unseen if self.used < self.seen or window is not None or any(self.pads) else None


def blocks(reading: Reading) -> list[Block]:
    """What a row that has been read leaves to write, like lengths together."""
    spans = [(s.of, s.start, s.end) for s in reading.spans if isinstance(s.of, Leaf)]
    spans.sort(key=lambda span: -len(span[0]))
    made: list[list[tuple[Leaf, int, int]]] = []
    for span in spans:
        if made and _waste([*made[-1], span]) <= WASTE:
            made[-1].append(span)
        else:
            made.append([span])
    return [Block(reading, group) for group in made]


def _waste(spans: Sequence[tuple[Leaf, int, int]]) -> float:
    lengths = [len(leaf) + ROOM for leaf, _, _ in spans]
    return 1 - sum(lengths) / (max(lengths) * len(lengths))


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
        self.node_masks: dict[int | None, torch.Tensor | None] = {}

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
        before = self.levels[-1]
        out = value.new_empty(answers, kinds, groups, value.shape[-1])
        chances = value.new_zeros(answers, kinds, groups, before) if self.nodes else None
        sinks = None if heads.sinks is None else heads.sinks.view(1, kinds, groups, 1)
        start = 0
        for block, mask in zip(self.blocks, self._masks(heads.window), strict=True):
            at = slice(start, start + len(block))
            start = at.stop
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
        for node, which, depth in self.nodes:
            assert chances is not None
            first = self.levels[depth]
            given = chances[which][..., first : first + len(node)].transpose(0, 1)
            made = torch.bmm(given.reshape(kinds, -1, len(node)), node.values[layer])
            out[which] += made.view(kinds, -1, groups, made.shape[-1]).transpose(0, 1)
        return out.view(answers, count, -1)

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
            made, start = [], 0
            shared = self._shared_hidden(window)
            for block in self.blocks:
                at = slice(start, start + len(block))
                start = at.stop
                own = block.hidden(self.positions[at], window)
                if shared is not None:
                    if own is None:
                        own = shared.new_zeros(len(block), block.seen)
                    own = torch.cat([shared[at], own], 1)
                made.append(None if own is None else own[:, None, None])
            self.masks[window] = made
        return self.masks[window]

    def _shared_hidden(self, window: int | None) -> torch.Tensor | None:
        if not self.nodes:
            return None
        device = self.positions.device
        hidden = torch.ones(len(self.leaves), self.levels[-1], dtype=torch.bool, device=device)
        for node, which, depth in self.nodes:
            first = self.levels[depth]
            unseen = torch.zeros(1, len(node), dtype=torch.bool, device=device)
            if window is not None:
                places = torch.arange(node.offset, node.offset + len(node), device=device)
                unseen = places[None] <= self.positions[which][:, None] - window
            hidden[which, first : first + len(node)] = unseen
        return hidden


def _picked(rows: list[int], device: torch.device) -> torch.Tensor | slice:
    """Consecutive answers as a slice, which copies nothing."""
    if rows == list(range(rows[0], rows[-1] + 1)):
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows, device=device)
