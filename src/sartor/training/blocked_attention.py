"""Attention over the examples of a pack as blocks of matrix products, forward and backward.

Some queries at a time against the keys that they may see (attention_blocks.py), so the causal half
is skipped; those of several examples at once. Queries and keys may come not yet turned by their
positions: they are laid out anew here anyway, and turned on the way (Su et al. 2021,
arXiv:2104.09864).

Where a processor multiplies bfloat16 all of it is one compiled call, which keeps the logarithm of
each query's sum alone (kernels/attention.py). Elsewhere what each query gave each key is kept for
the backward pass where keys are few and the model is narrow, and computed again elsewhere: kept, it
takes memory by the square of an example's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sartor.kernels import attention, calls
from sartor.kernels.calls import Turn
from sartor.kernels.products import product
from sartor.training.attention_blocks import Batch, Block, Run, batches, compiled_blocks, every
from sartor.training.attention_steps import steps
from sartor.training.masks import KEPT, NARROW
from sartor.training.sharing import Span

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
    if torch.is_autocast_enabled(kind := query.device.type):
        dtype = torch.get_autocast_dtype(kind)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if query.dtype != value.dtype:  # normalized in float32, as Qwen 3 does where weights train
        query, key = query.to(value.dtype), key.to(value.dtype)
    way: Any = _Compiled if attention.fits(query, key, value, *(turn or ())) else _Blocked
    result: torch.Tensor = way.apply(query, key, value, turn, tuple(runs), scaling, window)
    return result


class _Compiled(torch.autograd.Function):
    """All queries in one call of what is compiled."""

    @staticmethod
    def forward(
        ctx: Any, query: Any, key: Any, value: Any, turn: Any, runs: Any, scaling: float,
        window: Any,
    ) -> Any:  # fmt: skip
        (rows, heads, _), kinds = query.shape, key.shape[1]
        ctx.turn, ctx.asked, ctx.scaling = turn, _asked(turn, runs, rows), scaling
        ctx.blocks, ctx.groups = compiled_blocks(runs, window), heads // kinds
        q = calls.laid_out(query, kinds, ctx.asked, scaling)
        k, v = calls.laid_out(key, kinds, turn, 1.0), calls.laid_out(value, kinds, None, 1.0)
        out, normal = attention.attended(q, k, v, ctx.blocks, ctx.groups)
        ctx.save_for_backward(q, k, v, normal)
        return out[None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        q, k, v, normal = ctx.saved_tensors
        kinds = len(k)
        d_out = calls.laid_out(gradients[0][0], kinds, None, 1.0)
        d_q, d_k, d_v = attention.attended_back(q, k, v, ctx.blocks, ctx.groups, normal, d_out)
        d_query = calls.laid_back(d_q, kinds * ctx.groups, ctx.asked, ctx.scaling, q.dtype)
        d_key = calls.laid_back(d_k, kinds, ctx.turn, 1.0, q.dtype)
        return d_query, d_key, calls.laid_back(d_v, kinds, None, 1.0, q.dtype), *[None] * 4


def _is_kept(heads: int, width: int, block: Block) -> bool:
    """Whether what each query gives each key is kept."""
    return heads * width < NARROW and block.end <= KEPT


class _Blocked(torch.autograd.Function):
    """Block by block, by products of torch's."""

    @staticmethod
    def forward(
        ctx: Any, query: Any, key: Any, value: Any, turn: Any, runs: Any, scaling: float,
        window: Any,
    ) -> Any:  # fmt: skip
        (rows, heads, width), (tokens, kinds, _) = query.shape, key.shape
        do, asked = steps(query, key, value, *(turn or ())), _asked(turn, runs, rows)
        q = do.laid_out(query, kinds, asked, scaling)
        k, v = do.laid_out(key, kinds, turn), do.laid_out(value, kinds, None)
        out = query.new_empty(1, rows, heads, value.shape[-1])
        view = out.view(rows, kinds, heads // kinds * value.shape[-1]).transpose(0, 1)
        given = []
        most = SCORES // (heads * q.element_size())
        batched = batches(runs, window, most, rows, tokens, q.device)
        for batch in batched:
            keys = _taken(k, batch.keys, batch, width)
            chances = do.chances(_taken(q, batch.queries, batch, width), keys, batch, window)
            if _is_kept(heads, width, batch.blocks[0]):
                given.append(chances)
            made = product(chances, _taken(v, batch.keys, batch, value.shape[-1]))
            do.put(made, batch, view)
        ctx.save_for_backward(q, k, v, *given)
        ctx.turn, ctx.asked, ctx.batched, ctx.do = turn, asked, batched, do
        ctx.scaling, ctx.window, ctx.shape = scaling, window, query.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        q, k, v, *given = ctx.saved_tensors
        (_, heads, width), kinds, do = ctx.shape, len(k), ctx.do
        d_out = do.laid_out(gradients[0][0], kinds, None)
        d_q, d_k, d_v = map(do.room, (q, k, v))
        kept = iter(given)
        for batch in ctx.batched:
            asking = _taken(q, batch.queries, batch, width)
            dy = _taken(d_out, batch.queries, batch, v.shape[-1])
            keys = _taken(k, batch.keys, batch, width)
            if _is_kept(heads, width, batch.blocks[0]):
                chances = next(kept)
            else:
                chances = do.chances(asking, keys, batch, ctx.window)
            do.seen_back(product(chances.transpose(1, 2), dy), batch, d_v)
            values = _taken(v, batch.keys, batch, v.shape[-1])
            d_chances = product(dy, values.transpose(1, 2))
            d_scores = do.scores_back(d_chances, chances, batch, ctx.window)
            do.asked_back(product(d_scores, keys), batch, d_q)
            do.seen_back(product(d_scores.transpose(1, 2), asking), batch, d_k)
        d_query = do.laid_back(d_q, heads, ctx.asked, ctx.scaling, q.dtype)
        d_key = do.laid_back(d_k, kinds, ctx.turn, 1.0, k.dtype)
        return d_query, d_key, do.laid_back(d_v, kinds, None, 1.0, v.dtype), *[None] * 4


def _asked(turn: Turn | None, runs: Sequence[Run], rows: int) -> Turn | None:
    """The turn of those places that ask."""
    if turn is None or len(turn[0]) == rows:
        return turn
    places = [place for run in runs for place in range(run.place, run.place + run.count)]
    return turn[0][places], turn[1][places]


def _taken(laid: torch.Tensor, places: torch.Tensor, batch: Batch, width: int) -> torch.Tensor:
    """Of a laid out tensor what stands at these places: (key heads * blocks, groups * places of a
    block, width)."""
    return laid.index_select(1, places).view(len(laid) * len(batch.blocks), -1, width)
