"""Generation in rows: prompts are read as room for them comes free, and written together.

Room is counted in tokens held: keys and values of prompts, of what they share (once), and of the
answers they may yet have. Prompts come in the order of their tree, so that those that share a
passage meet while it is held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sartor.models.generation import ROW_TOKENS
from sartor.models.packed_blocks import Block, laid_out
from sartor.models.packed_forward import Forward
from sartor.models.packed_reading import Reading
from sartor.models.packed_writing import Writing
from sartor.models.prefix import Prefix
from sartor.models.prefix_tree import Leaf, Node, leaves
from sartor.models.sampling import Asked, Step, choose

WORTH_PACKING = 4, 256
"""Answers at once, and tokens of all of them, from which laying out the weights anew pays."""
REFILL = 0.75
"""Part of the answers that is left when others are let in."""


def packed_steps(
    network: Any, prompts: Sequence[Sequence[int]], asked: Asked, batch_tokens: int
) -> Iterator[Step]:
    """Generate for all prompts, a token a row at a time."""
    root = root_of(network, asked.virtual)
    waiting = deque(leaves(prompts, root, share=asked.share))
    held = _Held(network, asked, batch_tokens)
    full, filling = 0, True
    while waiting or held.answers:
        if waiting and (filling or held.answers <= REFILL * full):
            if taken := held.next_of(waiting):
                filling = True
                yield held.read(taken)
                held.drop_ended()
                continue
            filling, full = False, held.answers
        yield held.write()
        held.drop_ended()


class _Held:
    """The answers being written."""

    def __init__(self, network: Any, asked: Asked, batch_tokens: int) -> None:
        self.network, self.asked, self.batch_tokens = network, asked, batch_tokens
        self.forward = Forward(network)
        self.rows: list[Reading | Block] = []
        """What has been read since the last token was written, and what is being written."""
        self.written: dict[int, list[int]] = {}
        """By row: how many tokens, and the last of them."""

    @property
    def answers(self) -> int:
        return sum(map(len, self.rows))

    @property
    def leaves(self) -> list[Leaf]:
        """Their prompts."""
        return [leaf for row in self.rows for leaf in row.leaves]

    def next_of(self, waiting: deque[Leaf]) -> list[Leaf]:
        """As many of those waiting as there is room for in memory and in a row; one at least where
        nothing is held."""
        taken: list[Leaf] = []
        behind = {id(node): node for leaf in self.leaves for node in leaf.before}
        tokens = sum(map(self._size, self.leaves))
        tokens += sum(map(len, behind.values()))
        read = 0
        while waiting:
            leaf = waiting[0]
            new = [node for node in leaf.before if id(node) not in behind]
            shared = sum(map(len, new))
            unread = len(leaf) + sum(len(node) for node in new if not node.keys)
            tokens, read = tokens + self._size(leaf) + shared, read + unread
            first = not taken and not self.rows
            if not first and (tokens > self.batch_tokens or (taken and read > ROW_TOKENS)):
                break
            behind |= {id(node): node for node in new}
            taken.append(waiting.popleft())
        return taken

    def _size(self, leaf: Leaf) -> int:
        return len(leaf) + self.asked.limits[leaf.row]

    def read(self, taken: Sequence[Leaf]) -> Step:
        """Prompts, for the first token of each answer."""
        reading = Reading(taken)
        inputs = inputs_of(self.network, reading, self.asked.virtual)
        found = self.forward.logits(inputs, reading, reading.last)
        self.rows.append(reading)
        return self._chosen(found, [leaf.row for leaf in taken])

    def write(self) -> Step:
        """The next token of every answer."""
        if any(isinstance(row, Reading) for row in self.rows):
            self.rows = [*laid_out(self.rows)]
            limits = [self.asked.limits[leaf.row] for leaf in self.leaves]
            if len(limits) >= WORTH_PACKING[0] and sum(limits) >= WORTH_PACKING[1]:
                self.forward.products.pack()
        blocks = [row for row in self.rows if isinstance(row, Block)]
        for block in blocks:
            block.advance()
        leaves = self.leaves
        rows = [leaf.row for leaf in leaves]
        before = [leaf.offset + len(leaf) for leaf in leaves]
        positions = [p + self.written[row][0] - 1 for row, p in zip(rows, before, strict=True)]
        writing = Writing(blocks, positions, self.network.device)
        ids = [[self.written[row][1] for row in rows]]
        inputs = {"input_ids": torch.tensor(ids, device=self.network.device)}
        return self._chosen(self.forward.logits(inputs, writing, None), rows)

    def _chosen(self, found: torch.Tensor, rows: Sequence[int]) -> Step:
        chosen = choose(found, rows, self.asked)
        for row, token in zip(rows, chosen, strict=True):
            count = self.written[row][0] if row in self.written else 0
            self.written[row] = [count + 1, token]
        return Step(tuple(zip(rows, chosen, strict=True)))

    def drop_ended(self) -> None:
        """Let go of answers whose newest token was their last; whoever asked has seen it."""
        for held in self.rows:
            for place, leaf in reversed(list(enumerate(held.leaves))):
                count, token = self.written[leaf.row]
                if self.asked.ended(leaf.row, token, count):
                    held.drop(place)
        self.rows = [held for held in self.rows if len(held)]


def root_of(network: Any, virtual: torch.Tensor | Prefix | None) -> Node | None:
    """What stands before every prompt."""
    if virtual is None:
        return None
    root = Node((), virtual=len(virtual))
    if isinstance(virtual, Prefix):
        layers = [[t[0].to(network.device, network.dtype) for t in pair] for pair in virtual.layers]
        root.keys = [keys.contiguous() for keys, _ in layers]
        root.values = [values.contiguous() for _, values in layers]
    return root


def inputs_of(
    network: Any, reading: Reading, virtual: torch.Tensor | Prefix | None
) -> dict[str, torch.Tensor]:
    """The row's tokens, or embeddings where virtual ones stand before them."""
    ids = torch.tensor([reading.tokens], dtype=torch.long, device=network.device)
    first = reading.spans[0].of
    if not isinstance(first, Node) or not first.virtual or isinstance(virtual, Prefix):
        return {"input_ids": ids}
    assert virtual is not None
    own = network.get_input_embeddings()(ids)[0]
    return {"inputs_embeds": torch.cat([virtual.to(own), own])[None]}  # (1, places, hidden)
