"""Attention over each example of a pack by itself, as an implementation that transformers can use.

A pack is one row of many examples; `spans` say what sees what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sartor.models.prefix import Pair
from sartor.training.masks import BLOCK, hidden, seen
from sartor.training.sharing import Span

if TYPE_CHECKING:
    import torch


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    spans: Sequence[Span] | None = None,
    prefix: Sequence[Pair] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each example of a row; query is (1, heads, tokens, dimension)."""
    import torch

    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        query, key, value = (t.to(torch.get_autocast_dtype(kind)) for t in (query, key, value))
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    spans = spans or (Span(0, query.shape[2]),)
    if prefix is not None:
        behind, keys, values, shown = _behind(prefix[module.layer_idx], query, key, value, spans)
        out = attend(
            module, behind, keys, values, None, scaling, dropout, sliding_window, softcap, shown
        )[0]
        return out[:, -query.shape[2] :], None
    if softcap is None and not dropout:
        from sartor.training import varlen_attention

        if varlen_attention.fits(query, key, value, sliding_window):
            return varlen_attention.varlen_attention(
                query[0], key[0], value[0], spans, scaling, sliding_window
            ), None
    # torch's own kernel reaches a fifth of the speed of matrix products in bfloat16 on a CPU
    if kind == "cpu" and query.dtype == torch.bfloat16 and softcap is None and not dropout:
        from sartor.training.blocked_attention import blocked_attention

        return blocked_attention(query[0], key[0], value[0], spans, scaling, sliding_window), None
    parts = []
    for span in spans:
        q, k, v = query[:, :, span.start : span.end], seen(key, span), seen(value, span)
        if softcap is not None:
            parts.append(_capped(q, k, v, scaling, dropout, sliding_window, softcap))
        else:
            parts.append(_fused(q, k, v, scaling, dropout, sliding_window))
    return torch.cat(parts, 2).transpose(1, 2), None  # (1, tokens, heads, dimension)


def _behind(
    pair: Pair, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Sequence[Span]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[Span, ...]]:
    """A row with a prefix before it that every span sees, and that asks nothing itself."""
    import torch

    keys, values = (t.to(key.dtype) for t in pair)
    length = keys.shape[2]
    asked_nothing = query.new_zeros(1, query.shape[1], length, query.shape[3])
    shown = tuple(
        Span(
            span.start + length,
            span.end + length,
            ((0, length), *((start + length, end + length) for start, end in span.before)),
        )
        for span in spans
    )
    return (
        torch.cat([asked_nothing, query], 2), torch.cat([keys, key], 2),
        torch.cat([values, value], 2), shown,
    )  # fmt: skip


def _fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    scaling: float, dropout: float, window: int | None,
) -> torch.Tensor:  # fmt: skip
    """torch's own kernel, over one span."""
    import torch

    length, keys = query.shape[2], key.shape[2]
    mask = None
    if length != keys or (window is not None and keys > window):
        mask = hidden(keys - length, keys, 0, window, query.device).logical_not()
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling,
        dropout_p=dropout, enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip


def _capped(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    scaling: float, dropout: float, window: int | None, softcap: float,
) -> torch.Tensor:  # fmt: skip
    """With scores bounded by a hyperbolic tangent, as plain matrix products."""
    import torch

    groups = query.shape[1] // key.shape[1]
    q, k, v = query[0], key[0].repeat_interleave(groups, 0), value[0].repeat_interleave(groups, 0)
    offset = k.shape[1] - q.shape[1]
    parts = []
    for start in range(0, q.shape[1], BLOCK):
        end = min(start + BLOCK, q.shape[1])
        first = 0 if window is None else max(0, offset + start - window + 1)
        last = offset + end
        scores = torch.bmm(q[:, start:end] * scaling, k[:, first:last].transpose(1, 2))
        scores = softcap * torch.tanh(scores / softcap)
        unseen = hidden(offset + start, last, first, window, q.device)
        chances = torch.softmax(scores.masked_fill(unseen, float("-inf")), -1)
        chances = torch.nn.functional.dropout(chances, dropout)
        parts.append(torch.bmm(chances, v[:, first:last]))  # (heads, queries, dimension)
    return torch.cat(parts, 1)[None]
