"""Attention over the examples of a pack as blocks of matrix products, forward and backward.

Some queries at a time against the keys that they may see, so the causal half is skipped. What each
query gave each key is kept for the backward pass where keys are few and the model is narrow, and
computed again elsewhere: kept, it takes memory by the square of an example's length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sartor.training.masks import BLOCK, KEPT, NARROW, hidden, seen
from sartor.training.sharing import Span


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
    result: torch.Tensor = _Blocked.apply(  # type: ignore[no-untyped-call]
        query, key, value, tuple(spans), scaling, window
    )
    return result


def _blocks(span: Span, window: int | None) -> Iterator[tuple[int, int, int]]:
    """(first key, first query, end of both) of every block, in places of the example."""
    offset = span.offset
    for start in range(offset, offset + len(span), BLOCK):
        first = 0 if window is None else max(0, start - window + 1)
        yield first, start, min(start + BLOCK, offset + len(span))


_hidden = lru_cache(maxsize=512)(hidden)


def _give_back(total: Any, gradient: Any, span: Span) -> None:
    """Add the gradient of what a span saw to that of all keys."""
    at = 0
    for start, end in (*span.before, (span.start, span.end)):
        total[:, start:end] += gradient[:, at : at + end - start]
        at += end - start


def _is_kept(query: torch.Tensor, keys: torch.Tensor) -> bool:
    """Whether what each query (key heads, groups, tokens, dimension) gives each key is kept."""
    kinds, groups, _, width = query.shape
    return kinds * groups * width < NARROW and keys.shape[1] <= KEPT


class _Blocked(torch.autograd.Function):
    """Queries are held as (key heads, groups, tokens, dimension): a key head's are rows of one
    product."""

    @staticmethod
    def forward(
        ctx: Any, query: Any, key: Any, value: Any, spans: Any, scaling: float, window: Any
    ) -> Any:
        heads, tokens, width = query.shape
        kinds = key.shape[0]
        q = query.reshape(kinds, heads // kinds, tokens, width).mul(scaling)
        k, v = key.contiguous(), value.contiguous()
        out = query.new_empty(1, tokens, heads, value.shape[-1])
        view = _by_key_head(out, kinds)
        given = []
        for span in spans:
            seen_k, seen_v = seen(k, span), seen(v, span)
            for first, start, end in _blocks(span, window):
                at = span.start - span.offset + start
                rows = q[:, :, at : at + end - start].reshape(kinds, -1, width)
                chances = _chances(rows, seen_k, (first, start, end), window)
                if _is_kept(q, seen_k):
                    given.append(chances)
                block = torch.bmm(chances, seen_v[:, first:end])
                view[:, :, at : at + end - start] = block.view(kinds, -1, end - start, v.shape[-1])
        ctx.save_for_backward(q, k, v, *given)
        ctx.spans, ctx.scaling, ctx.window = spans, scaling, window
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        q, k, v, *given = ctx.saved_tensors
        kinds, groups, tokens, width = q.shape
        d_out = _by_key_head(gradients[0].contiguous(), kinds)
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        kept = iter(given)
        for span in ctx.spans:
            seen_k, seen_v = seen(k, span), seen(v, span)
            alone = not span.before
            d_seen_k = d_k[:, span.start : span.end] if alone else torch.zeros_like(seen_k)
            d_seen_v = d_v[:, span.start : span.end] if alone else torch.zeros_like(seen_v)
            for first, start, end in _blocks(span, ctx.window):
                at = span.start - span.offset + start
                dy = d_out[:, :, at : at + end - start].reshape(kinds, -1, v.shape[-1])
                rows = q[:, :, at : at + end - start].reshape(kinds, -1, width)
                if _is_kept(q, seen_k):
                    chances = next(kept)
                else:
                    chances = _chances(rows, seen_k, (first, start, end), ctx.window)
                d_seen_v[:, first:end].baddbmm_(chances.transpose(1, 2), dy)
                d_chances = torch.bmm(dy, seen_v[:, first:end].transpose(1, 2))
                d_scores = torch.ops.aten._softmax_backward_data(
                    d_chances, chances, -1, chances.dtype
                )
                d_rows = torch.bmm(d_scores, seen_k[:, first:end])
                d_q[:, :, at : at + end - start] = d_rows.view(kinds, groups, end - start, width)
                d_seen_k[:, first:end].baddbmm_(d_scores.transpose(1, 2), rows)
            if not alone:
                _give_back(d_k, d_seen_k, span)
                _give_back(d_v, d_seen_v, span)
        d_q = d_q.mul_(ctx.scaling).view(kinds * groups, tokens, width)
        return d_q, d_k, d_v, None, None, None


def _chances(
    rows: torch.Tensor, keys: torch.Tensor, block: tuple[int, int, int], window: int | None
) -> torch.Tensor:
    """What each query gives each key: (key heads, groups * queries, keys)."""
    first, start, end = block
    scores = torch.bmm(rows, keys[:, first:end].transpose(1, 2))
    last = first if window is not None else start  # all before is seen
    unseen = _hidden(start, end, last, window, rows.device)
    square = scores.view(len(rows), -1, end - start, end - first)
    square[..., last - first :].masked_fill_(unseen, float("-inf"))
    return torch.softmax(scores, -1)


def _by_key_head(row: torch.Tensor, kinds: int) -> torch.Tensor:
    """(1, tokens, heads, dimension) as (key heads, groups, tokens, dimension)."""
    _, tokens, heads, width = row.shape
    return row.view(tokens, kinds, heads // kinds, width).permute(1, 2, 0, 3)
