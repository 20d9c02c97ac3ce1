"""Attention over the examples of a pack as blocks of matrix products, forward and backward.

Some queries at a time against the keys that they may see (attention_blocks.py), so the causal half
is skipped. Queries and keys may come not yet turned by their positions: they are laid out anew here
anyway, and turned on the way (Su et al. 2021, arXiv:2104.09864).

What each query gave each key is kept for the backward pass where keys are few and the model is
narrow, and computed again elsewhere: kept, it takes memory by the square of an example's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.models.rotary import turned
from sartor.training.attention_blocks import (
    LAST,
    QUERIES,
    Block,
    Run,
    blocks,
    every,
    give_back,
    part,
    seen,
)
from sartor.training.masks import KEPT, NARROW, hidden
from sartor.training.sharing import Span

Turn = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of every place, (tokens, dimension) each."""


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


def _is_kept(query: torch.Tensor, block: Block) -> bool:
    """Whether what each query (key heads, groups, rows, dimension) gives each key is kept."""
    kinds, groups, _, width = query.shape
    return kinds * groups * width < NARROW and block.end <= KEPT


class _Blocked(torch.autograd.Function):
    """Queries are held as (key heads, groups, rows, dimension): a key head's are rows of one
    product. Zeros stand after queries, and on both sides of keys and values, for blocks that begin
    before a run or end after it."""

    @staticmethod
    def forward(
        ctx: Any, query: Any, key: Any, value: Any, turn: Any, runs: Any, scaling: float,
        window: Any,
    ) -> Any:  # fmt: skip
        rows, heads, width = query.shape
        kinds = key.shape[1]
        asked = _asked(turn, runs, rows)
        q = _laid_out(query, asked, 0).mul_(scaling).view(kinds, heads // kinds, -1, width)
        k, v = _laid_out(key, turn, LAST), _laid_out(value, None, LAST)
        out = query.new_empty(1, rows, heads, value.shape[-1])
        view = _by_key_head(out, kinds)
        given = []
        for run in runs:
            seen_k, seen_v = seen(k, run), seen(v, run)
            for block in blocks(run, window):
                chances = _chances(_rows(q, block), seen_k, block, window)
                if _is_kept(q, block):
                    given.append(chances)
                made = torch.bmm(chances, part(seen_v, block))
                made = made.view(kinds, -1, block.end - block.start, v.shape[-1])[
                    :, :, : block.count
                ]
                view[:, :, block.row : block.row + block.count] = made
        ctx.save_for_backward(q, k, v, *given)
        ctx.turn, ctx.asked, ctx.runs = turn, asked, runs
        ctx.scaling, ctx.window, ctx.shape = scaling, window, (rows, len(key))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        q, k, v, *given = ctx.saved_tensors
        kinds, groups, _, width = q.shape
        rows, tokens = ctx.shape
        d_out = _by_key_head(gradients[0].contiguous(), kinds)
        d_q = q.new_empty(kinds, groups, rows, width)
        d_k, d_v = torch.zeros_like(k), torch.zeros_like(v)
        kept = iter(given)
        for run in ctx.runs:
            seen_k, seen_v = seen(k, run), seen(v, run)
            shared = run.span.before
            d_seen_k = torch.zeros_like(seen_k) if shared else seen(d_k, run)
            d_seen_v = torch.zeros_like(seen_v) if shared else seen(d_v, run)
            for block in blocks(run, ctx.window):
                own = slice(block.row, block.row + block.count)
                asking = _rows(q, block)
                dy = d_out[:, :, own].contiguous()
                if more := block.end - block.start - block.count:  # those are not the run's
                    dy = functional.pad(dy, (0, 0, 0, more))
                dy = dy.flatten(1, 2)
                is_kept = _is_kept(q, block)
                chances = next(kept) if is_kept else _chances(asking, seen_k, block, ctx.window)
                d_seen_v[:, block.first : block.end].baddbmm_(chances.transpose(1, 2), dy)
                d_chances = torch.bmm(dy, part(seen_v, block).transpose(1, 2))
                d_scores = torch.ops.aten._softmax_backward_data(
                    d_chances, chances, -1, chances.dtype
                )
                d_rows = torch.bmm(d_scores, part(seen_k, block))
                d_q[:, :, own] = d_rows.view(kinds, groups, -1, width)[:, :, : block.count]
                d_seen_k[:, block.first : block.end].baddbmm_(d_scores.transpose(1, 2), asking)
            if shared:
                give_back(d_k, d_seen_k, run)
                give_back(d_v, d_seen_v, run)
        d_query = _back(d_q.mul_(ctx.scaling).flatten(0, 1), ctx.asked)
        d_key = _back(d_k[:, LAST : LAST + tokens], ctx.turn)
        return d_query, d_key, d_v[:, LAST : LAST + tokens].transpose(0, 1), *[None] * 4


def _asked(turn: Turn | None, runs: Sequence[Run], rows: int) -> Turn | None:
    """The turn of those places that ask."""
    if turn is None or len(turn[0]) == rows:
        return turn
    places = [place for run in runs for place in range(run.place, run.place + run.count)]
    return turn[0][places], turn[1][places]


def _laid_out(row: torch.Tensor, turn: Turn | None, before: int) -> torch.Tensor:
    """(tokens, heads, dimension) turned, as (heads, tokens, dimension) among zeros."""
    tokens, heads, width = row.shape
    made = row.new_empty(heads, before + tokens + QUERIES, width)
    made[:, :before] = 0
    made[:, before + tokens :] = 0
    here = made[:, before : before + tokens]
    if turn is None:
        here.copy_(row.transpose(0, 1))
    else:
        turned(row.transpose(0, 1), *turn, into=here)
    return made


def _back(gradient: torch.Tensor, turn: Turn | None) -> torch.Tensor:
    """The gradient of what was turned, of that of what came of it: (tokens, heads, dimension)."""
    heads, tokens, width = gradient.shape
    if turn is None:
        return gradient.transpose(0, 1)
    half = width // 2
    cosines, sines = turn
    made = gradient.new_empty(tokens, heads, width)
    by_head = made.transpose(0, 1)
    torch.mul(gradient, cosines, out=by_head)
    by_head[..., :half].addcmul_(gradient[..., half:], sines[..., half:])
    by_head[..., half:].addcmul_(gradient[..., :half], sines[..., :half], value=-1)
    return made


def _rows(query: torch.Tensor, block: Block) -> torch.Tensor:
    """A block's queries: (key heads, groups * queries, dimension)."""
    end = block.row + block.end - block.start
    return query[:, :, block.row : end].flatten(1, 2)


def _chances(
    rows: torch.Tensor, keys: torch.Tensor, block: Block, window: int | None
) -> torch.Tensor:
    """What each query gives each key: (key heads, groups * queries, keys)."""
    scores = torch.bmm(rows, part(keys, block).transpose(1, 2))
    last = block.first if window is not None else block.start  # all before is seen
    first, end = block.start - last, block.end - last  # masks are the same wherever a block stands
    unseen = _unseen(first, end, 0, window, (rows.device, rows.dtype))
    square = scores.view(len(rows), -1, block.end - block.start, block.end - block.first)
    square[..., last - block.first :].add_(unseen)
    if block.before > block.first:
        square[..., : block.before - block.first] = float("-inf")
    return torch.softmax(scores, -1)


def _by_key_head(row: torch.Tensor, kinds: int) -> torch.Tensor:
    """(1, tokens, heads, dimension) as (key heads, groups, tokens, dimension)."""
    _, tokens, heads, width = row.shape
    return row.view(tokens, kinds, heads // kinds, width).permute(1, 2, 0, 3)
