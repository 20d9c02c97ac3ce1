"""Attention over the examples of a pack as blocks of matrix products, forward and backward.

Some queries at a time against the keys that they may see (attention_blocks.py), so the causal half
is skipped; those of several examples at once. Queries and keys may come not yet turned by their
positions: they are laid out anew here anyway, and turned on the way (Su et al. 2021,
arXiv:2104.09864).

What each query gave each key is kept for the backward pass where keys are few and the model is
narrow, and computed again elsewhere: kept, it takes memory by the square of an example's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sartor.models.rotary import turned
from sartor.training.attention_blocks import Batch, Block, Run, batches, every
from sartor.training.masks import KEPT, NARROW, hidden
from sartor.training.sharing import Span

Turn = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of every place, (tokens, dimension) each."""
SCORES = 1 << 23
"""Bytes of all heads' at once."""


def blocked_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    spans: Sequence[Span],
    scaling: float,
    window: int | None = None,
) -> torch.Tensor:
    """Causal attention of each span to itself and what stands before it.

    query (heads, tokens, dimension); key and value (key heads, tokens, dimension), of which each
    serves heads / key heads queries; a query sees the last `window` keys, its own included.
    Returns (1, tokens, heads, dimension).
    """
    q, k, v = (t.transpose(0, 1) for t in (query, key, value))
    return turned_attention(q, k, v, None, every(spans), scaling, window)


def turned_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    turn: Turn | None,
    runs: Sequence[Run],
    scaling: float,
    window: int | None = None,
) -> torch.Tensor:
    """The same for query (rows, heads, dimension), and key and value (tokens, key heads,
    dimension), the first two turned here where there is a `turn`; `runs` say which queries there
    are. Returns (1, rows, heads, dimension)."""
    if query.dtype != value.dtype:  # normalized in float32, as Qwen 3 does where weights train
        query, key = query.to(value.dtype), key.to(value.dtype)
    result: torch.Tensor = _Blocked.apply(  # type: ignore[no-untyped-call]
        query, key, value, turn, tuple(runs), scaling, window
    )
    return result


@lru_cache(maxsize=512)
def _unseen(
    start: int, end: int, first: int, window: int | None, like: tuple[torch.device, torch.dtype]
) -> torch.Tensor:
    """What is added to scores: nothing, or minus infinity where a query must not see a key."""
    unseen = hidden(start, end, first, window, like[0])
    return torch.zeros(unseen.shape, dtype=like[1]).masked_fill_(unseen, float("-inf"))


def _is_kept(heads: int, width: int, block: Block) -> bool:
    """Whether what each query gives each key is kept."""
    return heads * width < NARROW and block.end <= KEPT


class _Blocked(torch.autograd.Function):
    """Queries are held as (key heads, rows, groups * dimension): a key head's are rows of one
    product. A row of zeros stands after queries, keys and values, for places of a block that are
    no run's."""

    @staticmethod
    def forward(
        ctx: Any, query: Any, key: Any, value: Any, turn: Any, runs: Any, scaling: float,
        window: Any,
    ) -> Any:  # fmt: skip
        (rows, heads, width), (tokens, kinds, _) = query.shape, key.shape
        asked = _asked(turn, runs, rows)
        q = _laid_out(query, kinds, asked).mul_(scaling)
        k, v = _laid_out(key, kinds, turn), _laid_out(value, kinds, None)
        out = query.new_empty(1, rows, heads, value.shape[-1])
        view = out.view(rows, kinds, heads // kinds * v.shape[-1]).transpose(0, 1)
        given = []
        most = SCORES // (heads * q.element_size())
        batched = batches(runs, window, most, rows, tokens, q.device)
        for batch in batched:
            keys = _taken(k, batch.keys, batch, width)
            chances = _chances(_taken(q, batch.queries, batch, width), keys, batch, window)
            if _is_kept(heads, width, batch.blocks[0]):
                given.append(chances)
            made = torch.bmm(chances, _taken(v, batch.keys, batch, v.shape[-1]))
            _put(made, batch, into=view)
        ctx.save_for_backward(q, k, v, *given)
        ctx.turn, ctx.asked, ctx.batched = turn, asked, batched
        ctx.scaling, ctx.window, ctx.shape = scaling, window, query.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        q, k, v, *given = ctx.saved_tensors
        (rows, heads, width), kinds = ctx.shape, len(k)
        d_out = _laid_out(gradients[0][0], kinds, None)
        d_q = q.new_empty(kinds, rows, q.shape[-1])
        d_k = torch.zeros_like(k)
        d_v = v.new_zeros(*v.shape[1::-1], v.shape[-1])  # by place, as it is asked for
        kept = iter(given)
        for batch in ctx.batched:
            asking = _taken(q, batch.queries, batch, width)
            dy = _taken(d_out, batch.queries, batch, v.shape[-1])
            keys = _taken(k, batch.keys, batch, width)
            if _is_kept(heads, width, batch.blocks[0]):
                chances = next(kept)
            else:
                chances = _chances(asking, keys, batch, ctx.window)
            _give_back(torch.bmm(chances.transpose(1, 2), dy), batch, to=d_v.transpose(0, 1))
            values = _taken(v, batch.keys, batch, v.shape[-1])
            d_chances = torch.bmm(dy, values.transpose(1, 2))
            d_scores = torch.ops.aten._softmax_backward_data(d_chances, chances, -1, chances.dtype)
            _put(torch.bmm(d_scores, keys), batch, into=d_q)
            _give_back(torch.bmm(d_scores.transpose(1, 2), asking), batch, to=d_k)
        d_query = _back(d_q.mul_(ctx.scaling), heads, ctx.asked)
        d_key = _back(d_k[:, :-1], kinds, ctx.turn)
        return d_query, d_key, d_v[:-1], *[None] * 4


def _asked(turn: Turn | None, runs: Sequence[Run], rows: int) -> Turn | None:
    """The turn of those places that ask."""
    if turn is None or len(turn[0]) == rows:
        return turn
    places = [place for run in runs for place in range(run.place, run.place + run.count)]
    return turn[0][places], turn[1][places]


def _laid_out(row: torch.Tensor, kinds: int, turn: Turn | None) -> torch.Tensor:
    """(tokens, heads, dimension) turned, as (key heads, tokens and one of zeros, groups *
    dimension)."""
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
    return made


def _back(gradient: torch.Tensor, heads: int, turn: Turn | None) -> torch.Tensor:
    """The gradient of what was turned, (tokens, heads, dimension), of that of what came of it,
    (key heads, tokens, groups * dimension)."""
    kinds, tokens, _ = gradient.shape
    width = gradient.shape[-1] // (heads // kinds)
    parted = gradient.reshape(kinds, tokens, heads // kinds, width)
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


def _taken(laid: torch.Tensor, places: torch.Tensor, batch: Batch, width: int) -> torch.Tensor:
    """Of a laid out tensor what stands at these places: (key heads * blocks, groups * places of a
    block, width)."""
    return laid.index_select(1, places).view(len(laid) * len(batch.blocks), -1, width)


def _chances(
    rows: torch.Tensor, keys: torch.Tensor, batch: Batch, window: int | None
) -> torch.Tensor:
    """What each query gives each key: (key heads * blocks, queries * groups, keys)."""
    scores = torch.bmm(rows, keys.transpose(1, 2))
    block = batch.blocks[0]
    last = block.first if window is not None else block.start  # all before is seen
    first, end = block.start - last, block.end - last  # masks are the same wherever a block stands
    unseen = _unseen(first, end, 0, window, (rows.device, rows.dtype))
    square = scores.view(len(rows), block.end - block.start, -1, block.end - block.first)
    square[..., last - block.first :].add_(unseen[:, None])
    for number, block in enumerate(batch.blocks):
        if block.before > block.first:
            alone = square[number :: len(batch.blocks)]
            alone[..., : block.before - block.first] = float("-inf")
    return torch.softmax(scores, -1)


def _put(made: torch.Tensor, batch: Batch, into: torch.Tensor) -> None:
    """Write what blocks gave, (key heads * blocks, queries * groups, width), to their rows of
    (key heads, rows, groups * width)."""
    parted = made.view(len(into), len(batch.blocks), -1, into.shape[-1])
    for number, block in enumerate(batch.blocks):
        into[:, block.row : block.row + block.count] = parted[:, number, : block.count]


def _give_back(made: torch.Tensor, batch: Batch, to: torch.Tensor) -> None:
    """Add the gradients of the keys that blocks saw, (key heads * blocks, keys, width), to that of
    all keys."""
    parted = made.view(len(to), len(batch.blocks), -1, to.shape[-1])
    for (start, end, at), numbers in batch.seen.items():
        part = parted[:, :, at : at + end - start]
        if 1 < len(numbers) == len(batch.blocks):  # all share it
            to[:, start:end] += part.sum(1)
        else:
            for number in numbers:
                to[:, start:end] += part[:, number]
