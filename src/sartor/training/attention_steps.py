"""What attention does around its products, block by block: by torch's operations, or compiled.

Both do the same; the compiled ones in one go over the numbers, rounded once (kernels/).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch

from sartor.kernels import calls
from sartor.kernels.calls import Turn
from sartor.kernels.products import product
from sartor.models.rotary import turned
from sartor.training.attention_blocks import Batch
from sartor.training.masks import hidden


class Steps(Protocol):
    """Tensors are laid out as (key heads, places and one of zeros, groups * dimension): queries of
    a key head are rows of one product. The row of zeros is for places of a block that are no
    run's."""

    def laid_out(
        self, row: torch.Tensor, kinds: int, turn: Turn | None, scale: float = 1.0
    ) -> torch.Tensor:
        """(tokens, heads, dimension) turned, times `scale`, laid out for so many key heads."""
        ...

    def chances(
        self, rows: torch.Tensor, keys: torch.Tensor, batch: Batch, window: int | None
    ) -> torch.Tensor:
        """What each query gives each key: (key heads * blocks, queries * groups, keys)."""
        ...

    def put(self, made: torch.Tensor, batch: Batch, into: torch.Tensor) -> None:
        """Write what blocks gave, (key heads * blocks, queries * groups, width), to their rows of
        (key heads, rows, groups * width)."""
        ...

    def scores_back(
        self, given: torch.Tensor, chances: torch.Tensor, batch: Batch, window: int | None
    ) -> torch.Tensor:
        """The gradient of scores of that of their chances."""
        ...

    def room(self, laid: torch.Tensor) -> torch.Tensor:
        """Zeros for the gradient of what is laid out so."""
        ...

    def asked_back(self, made: torch.Tensor, batch: Batch, to: torch.Tensor) -> None:
        """Put the gradients of blocks' queries in their places of that of all, each there once."""
        ...

    def seen_back(self, made: torch.Tensor, batch: Batch, to: torch.Tensor) -> None:
        """Add the gradients of the keys that blocks saw, (key heads * blocks, keys, width), to that
        of all keys."""
        ...

    def laid_back(
        self,
        gradient: torch.Tensor,
        heads: int,
        turn: Turn | None,
        scale: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        """The gradient of what was laid out, (tokens, heads, dimension)."""
        ...


def steps(*given: torch.Tensor) -> Steps:
    """Those for these tensors."""
    return Compiled() if calls.fits(*given) and given[0].shape[-1] % 2 == 0 else Plain()


class Plain:
    """By torch's operations, on any device."""

    def laid_out(
        self, row: torch.Tensor, kinds: int, turn: Turn | None, scale: float = 1.0
    ) -> torch.Tensor:
        tokens, heads, width = row.shape
        made = row.new_empty(kinds, tokens + 1, heads // kinds * width)
        made[:, tokens:] = 0
        parted = row.reshape(tokens, kinds, heads // kinds, width).transpose(0, 1)
        here = made[:, :tokens].view(kinds, tokens, heads // kinds, width)
        if turn is None:
            here.copy_(parted)
        else:
            cosines, sines = (t[:, None] for t in turn)
            turned(parted, cosines, sines, into=here)
        return made if scale == 1.0 else made.mul_(scale)

    def chances(
        self, rows: torch.Tensor, keys: torch.Tensor, batch: Batch, window: int | None
    ) -> torch.Tensor:
        scores = product(rows, keys.transpose(1, 2))
        block = batch.blocks[0]
        last = block.first if window is not None else block.start  # all before is seen
        first, end = block.start - last, block.end - last  # alike wherever a block stands
        unseen = _unseen(first, end, 0, window, (rows.device, rows.dtype))
        square = scores.view(len(rows), block.end - block.start, -1, block.end - block.first)
        square[..., last - block.first :].add_(unseen[:, None])
        for number, block in enumerate(batch.blocks):
            if block.before > block.first:
                alone = square[number :: len(batch.blocks)]
                alone[..., : block.before - block.first] = float("-inf")
        return torch.softmax(scores, -1)

    def put(self, made: torch.Tensor, batch: Batch, into: torch.Tensor) -> None:
        parted = made.view(len(into), len(batch.blocks), -1, into.shape[-1])
        for number, block in enumerate(batch.blocks):
            into[:, block.row : block.row + block.count] = parted[:, number, : block.count]

    def scores_back(
        self, given: torch.Tensor, chances: torch.Tensor, batch: Batch, window: int | None
    ) -> torch.Tensor:
        made: torch.Tensor = torch.ops.aten._softmax_backward_data(
            given, chances, -1, chances.dtype
        )
        return made

    def room(self, laid: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(laid)

    def asked_back(self, made: torch.Tensor, batch: Batch, to: torch.Tensor) -> None:
        self.put(made, batch, to)

    def seen_back(self, made: torch.Tensor, batch: Batch, to: torch.Tensor) -> None:
        parted = made.view(len(to), len(batch.blocks), -1, to.shape[-1])
        for (start, end, at), numbers in batch.seen.items():
            part = parted[:, :, at : at + end - start]
            if 1 < len(numbers) == len(batch.blocks):  # all share it
                to[:, start:end] += part.sum(1)
            else:
                for number in numbers:
                    to[:, start:end] += part[:, number]

    def laid_back(
        self,
        gradient: torch.Tensor,
        heads: int,
        turn: Turn | None,
        scale: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        gradient = gradient[:, :-1]
        kinds, tokens, row = gradient.shape
        width = row // (heads // kinds)
        parted = gradient.reshape(kinds, tokens, heads // kinds, width)
        if scale != 1.0:
            parted = parted * scale
        made = gradient.new_empty(tokens, kinds, heads // kinds, width)
        into = made.transpose(0, 1)
        if turn is None:
            into.copy_(parted)
        else:
            half = width // 2
            cosines, sines = (t[:, None] for t in turn)
            torch.mul(parted, cosines, out=into)
            into[..., :half].addcmul_(parted[..., half:], sines[..., half:])
            into[..., half:].addcmul_(parted[..., :half], sines[..., :half], value=-1)
        return made.view(tokens, heads, width)


@lru_cache(maxsize=512)
def _unseen(
    start: int, end: int, first: int, window: int | None, like: tuple[torch.device, torch.dtype]
) -> torch.Tensor:
    """What is added to scores: nothing, or minus infinity where a query must not see a key."""
    unseen = hidden(start, end, first, window, like[0])
    return torch.zeros(unseen.shape, dtype=like[1]).masked_fill_(unseen, float("-inf"))


class Compiled:
    """In C, on a CPU; gradients that are summed are summed in float32."""

    def laid_out(
        self, row: torch.Tensor, kinds: int, turn: Turn | None, scale: float = 1.0
    ) -> torch.Tensor:
        return calls.laid_out(row, kinds, turn, scale)

    def chances(
        self, rows: torch.Tensor, keys: torch.Tensor, batch: Batch, window: int | None
    ) -> torch.Tensor:
        scores = product(rows, keys.transpose(1, 2))
        calls.chances(scores, batch.unseen, *_seen(batch), window)
        return scores

    def put(self, made: torch.Tensor, batch: Batch, into: torch.Tensor) -> None:
        calls.put(made, batch.queries, into.shape[1], into)

    def scores_back(
        self, given: torch.Tensor, chances: torch.Tensor, batch: Batch, window: int | None
    ) -> torch.Tensor:
        calls.chances_back(given, chances, batch.unseen, *_seen(batch), window)
        return given

    def room(self, laid: torch.Tensor) -> torch.Tensor:
        return torch.zeros(laid.shape, dtype=torch.float32, device="cpu")

    def asked_back(self, made: torch.Tensor, batch: Batch, to: torch.Tensor) -> None:
        calls.added(made, batch.queries, to.shape[1] - 1, to)

    def seen_back(self, made: torch.Tensor, batch: Batch, to: torch.Tensor) -> None:
        calls.added(made, batch.keys, to.shape[1] - 1, to)

    def laid_back(
        self,
        gradient: torch.Tensor,
        heads: int,
        turn: Turn | None,
        scale: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        return calls.laid_back(gradient, heads, turn, scale, dtype)


def _seen(batch: Batch) -> tuple[int, int]:
    """Queries of a block, and where the first one stands among its keys."""
    block = batch.blocks[0]
    return block.end - block.start, block.start - block.first
