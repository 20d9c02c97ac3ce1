"""Keys and values of the answers being written: those about as long stand in one block of memory.

Ends are aligned, with room for some tokens more. A finished answer's place is taken by the last one
of its block. When others are let in, all are laid out anew, so that blocks stay few and full: each
costs products of its own at every token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sartor.kernels import calls
from sartor.models.memory import trim
from sartor.models.packed_reading import Part, Reading

ROOM = 32
"""Tokens that a block grows by; it is copied then."""
WASTE = 0.25
"""Part of a block that may be padding; prompts whose lengths differ more get another block."""
TRIMMED = 16 << 20
"""Bytes moved into blocks, after which the memory they came from is handed back. The C library's
heap keeps it in pieces too small for a block: without this the process grows by all that is moved.
"""


class Block:
    """Answers that are about as long, behind what their prompts share."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.leaves = [part.leaf for part in parts]
        longest = max(part.length for part in parts)
        self.pads = [longest - part.length for part in parts]
        """Unused places before each; where its own part starts."""
        self.used = longest
        self.room = longest + ROOM
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        """By layer: (answers, key heads, room, width); values (..., width, room) where torch
        multiplies them in float32, which then reads them in the order of memory."""
        self.lies_by_place = True
        """Whether values are (..., room, width), settled with the first layer: what is compiled,
        and products in bfloat16, read them so."""
        self._parts = parts

    def place(self, layer: int) -> None:
        """Take the next layer of every answer from where it was."""
        assert layer == len(self.keys)
        keys, values = self._parts[0].of.own(self._parts[0].place, layer)
        kinds, count = keys.shape[0], len(self)
        self.keys.append(keys.new_zeros(count, kinds, self.room, keys.shape[2]))
        if layer == 0:
            self.lies_by_place = self.whole or calls.fits(keys)
        deep = values.shape[2]
        lying = (self.room, deep) if self.lies_by_place else (deep, self.room)
        self.values.append(values.new_zeros(count, kinds, *lying))
        by_place = self._by_place(layer)
        for i, part in enumerate(self._parts):
            keys, values = part.of.own(part.place, layer)
            self.keys[layer][i, :, self.pads[i] : self.used] = keys
            by_place[i, :, self.pads[i] : self.used] = values

    def placed(self) -> None:
        """All layers are here: let go of where they were."""
        self._parts = ()

    def __len__(self) -> int:
        return len(self.leaves)

    def parts(self) -> list[Part]:
        """What a new layout takes from here."""
        return [Part(leaf, self, i, self.used - self.pads[i]) for i, leaf in enumerate(self.leaves)]

    def own(self, place: int, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of an answer: (key heads, tokens, width)."""
        at = slice(self.pads[place], self.used)
        return self.keys[layer][place, :, at], self._by_place(layer)[place, :, at]

    def forget(self, layer: int) -> None:
        """Give its memory back."""
        self.keys[layer] = self.values[layer] = self.keys[layer].new_empty(0)

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
        self._by_place(layer)[:count, :, at] = values

    def _by_place(self, layer: int) -> torch.Tensor:
        """Values (answers, key heads, room, width), however they lie."""
        values = self.values[layer]
        return values if self.lies_by_place else values.transpose(2, 3)

    def scores(self, layer: int, queries: torch.Tensor) -> torch.Tensor:
        """Queries (answers * key heads, groups, width) with the keys: (..., groups, seen)."""
        keys = self.keys[layer][: len(self)].flatten(0, 1)[:, : self.seen]
        if self.whole:
            return torch.bmm(queries, keys.transpose(1, 2))
        return torch.bmm(keys, queries.transpose(1, 2)).transpose(1, 2)

    def weighed(self, layer: int, chances: torch.Tensor) -> torch.Tensor:
        """Values by chances (answers * key heads, groups, seen): (..., groups, width)."""
        values = self.values[layer][: len(self)].flatten(0, 1)
        if self.lies_by_place:
            return torch.bmm(chances, values[:, : self.seen])
        return torch.bmm(values[..., : self.seen], chances.transpose(1, 2)).transpose(1, 2)

    def firsts(self, window: int | None) -> torch.Tensor:
        """The first place that each answer's newest token sees: (answers,)."""
        start = self.used - (window or self.used)
        return torch.tensor([max(pad, start) for pad in self.pads])

    def answered(
        self, layer: int, queries: torch.Tensor, shared: torch.Tensor | None, firsts: torch.Tensor
    ) -> torch.Tensor:
        """Scores, their softmax and the weighted values in one compiled call, where `scores` and
        `weighed` take torch's: of queries (answers, key heads, groups, width), scaled, with the
        scores of what they `shared`, which become chances. `firsts` are as `firsts` gives them."""
        keys, values = self.keys[layer][: len(self)], self.values[layer][: len(self)]
        return calls.written(queries, keys, values, shared, firsts, self.used)

    def advance(self) -> None:
        """Make a place for every answer's next token."""
        self.used += 1
        if self.used > self.room:
            spare = min(self.pads)  # room that nobody uses is given up
            self.pads = [pad - spare for pad in self.pads]
            self.used -= spare
            self.room = self.used - 1 + ROOM
            self.keys = [self._grown(tensor, spare) for tensor in self.keys]
            last = not self.lies_by_place
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


def laid_out(held: Sequence[Reading | Block]) -> list[Block]:
    """What has been read and what was being written, like lengths together; it is taken from
    `held` layer by layer, so that little of it is in memory twice."""
    parts = [part for rows in held for part in rows.parts()]
    groups: list[list[Part]] = []
    for part in sorted(parts, key=lambda part: -part.length):
        if groups and _waste([*groups[-1], part]) <= WASTE:
            groups[-1].append(part)
        else:
            groups.append([part])
    blocks = [Block(group) for group in groups]
    moved = 0
    for layer in range(len(held[0].keys) if parts else 0):
        for block in blocks:
            block.place(layer)
            moved += block.keys[layer].nbytes + block.values[layer].nbytes
        for rows in held:
            rows.forget(layer)
        if moved >= TRIMMED:
            trim()
            moved = 0
    for block in blocks:
        block.placed()
    return blocks


def _waste(parts: Sequence[Part]) -> float:
    lengths = [part.length + ROOM for part in parts]
    return 1 - sum(lengths) / (max(lengths) * len(lengths))
