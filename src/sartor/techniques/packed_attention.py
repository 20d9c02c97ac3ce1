"""Attention over each example of a pack by itself, as an implementation that transformers can use.

A pack is one row of many examples; `segments` are their lengths. Whether a model gives in a pack
what it gives alone is tried on a few tokens before it is believed: architectures differ in what
they hand to their attention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sartor.models.generation import must_go_alone
from sartor.progress import say

if TYPE_CHECKING:
    import torch

ATTENTION = "sartor_packed"
BLOCK = 192
"""Queries at a time in `_blocked`; each sees only the keys up to its end."""
LONGEST_BLOCKED = 512
"""Tokens; beyond, the scores that `_blocked` keeps for the backward pass outweigh what it saves."""
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Mean difference of the logits, in parts of their mean size, that rounding alone explains."""


def is_packed(network: Any) -> bool:
    """Whether the model runs packs."""
    return bool(network.config._attn_implementation == ATTENTION)


def use_packed_attention(network: Any) -> bool:
    """Switch the model to packs, where what it gives stays the same; says whether it was done."""
    from transformers import AttentionInterface

    if is_packed(network):
        return True
    if not getattr(network, "_supports_attention_backend", False) or must_go_alone(network):
        return False
    config = network.config.get_text_config(decoder=True)
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        return False
    before = network.config._attn_implementation
    alone = _alone(network)
    AttentionInterface.register(ATTENTION, _attend)
    network.set_attn_implementation(ATTENTION)
    if _same(alone, network):
        return True
    network.set_attn_implementation(before)
    say(f"a {type(network).__name__} does not run packs of examples; it trains on padded batches")
    return False


TRIED = ((3, 5, 4), (4, 3, 5, 6, 3))
"""Two small examples."""


def _alone(network: Any) -> torch.Tensor:
    """What the model makes of `TRIED`, one at a time: logits (all tokens, vocabulary)."""
    import torch

    network.eval()
    with torch.no_grad():
        ids = [torch.tensor([tokens], device=network.device) for tokens in TRIED]
        return torch.cat([network(input_ids=one, use_cache=False).logits[0] for one in ids])


def _same(alone: torch.Tensor, network: Any) -> bool:
    import torch

    segments = [len(tokens) for tokens in TRIED]
    ids = torch.tensor([token for tokens in TRIED for token in tokens], device=network.device)
    positions = torch.cat([torch.arange(length) for length in segments]).to(network.device)
    try:
        with torch.no_grad():
            packed = network(
                input_ids=ids[None],
                position_ids=positions[None],
                use_cache=False,
                logits_to_keep=torch.arange(len(ids), device=network.device),
                segments=segments,
            ).logits[0]
    except (TypeError, ValueError, RuntimeError):  # it takes no such thing; the caller says so
        return False
    tolerance = TOLERANCE.get(str(alone.dtype).removeprefix("torch."), 1e-3)
    difference = (packed.float() - alone.float()).abs().mean()
    return bool(difference <= tolerance * alone.float().abs().mean())


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    segments: Sequence[int] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each segment of a row; query is (1, heads, tokens, dimension)."""
    import torch

    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        query, key, value = (t.to(torch.get_autocast_dtype(kind)) for t in (query, key, value))
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    lengths = list(segments or [query.shape[2]])
    split: Callable[..., Any] = torch.split
    # torch's own kernel reaches a fifth of the speed of matrix products in bfloat16 on a CPU
    slow = kind == "cpu" and query.dtype == torch.bfloat16
    parts = []
    for q, k, v in zip(*(split(t, lengths, 2) for t in (query, key, value)), strict=True):
        if softcap is not None or (slow and q.shape[2] <= LONGEST_BLOCKED):
            parts.append(_blocked(q, k, v, scaling, dropout, sliding_window, softcap))
        else:
            parts.append(_fused(q, k, v, scaling, dropout, sliding_window))
    return torch.cat(parts, 2).transpose(1, 2), None  # (1, tokens, heads, dimension)


def _fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    scaling: float, dropout: float, window: int | None,
) -> torch.Tensor:  # fmt: skip
    """torch's own kernel, over one segment."""
    import torch

    length = query.shape[2]
    mask = None
    if window is not None and length > window:
        mask = _hidden(0, length, 0, window, query.device).logical_not()
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling,
        dropout_p=dropout, enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip


def _blocked(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    scaling: float, dropout: float, window: int | None, softcap: float | None,
) -> torch.Tensor:  # fmt: skip
    """The same as plain matrix products, some queries at a time."""
    import torch

    groups = query.shape[1] // key.shape[1]
    q, k, v = query[0], key[0].repeat_interleave(groups, 0), value[0].repeat_interleave(groups, 0)
    parts = []
    for start in range(0, q.shape[1], BLOCK):
        end = min(start + BLOCK, q.shape[1])
        first = 0 if window is None else max(0, start - window + 1)
        scores = torch.bmm(q[:, start:end] * scaling, k[:, first:end].transpose(1, 2))
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        hidden = _hidden(start, end, first, window, q.device)
        chances = torch.softmax(scores.masked_fill(hidden, float("-inf")), -1)
        chances = torch.nn.functional.dropout(chances, dropout)
        parts.append(torch.bmm(chances, v[:, first:end]))  # (heads, queries, dimension)
    return torch.cat(parts, 1)[None]


def _hidden(
    start: int, end: int, first: int, window: int | None, device: torch.device
) -> torch.Tensor:
    """Which of the keys `first` to `end` each query from `start` to `end` must not see."""
    import torch

    queries, keys = torch.arange(start, end, device=device), torch.arange(first, end, device=device)
    distance = queries[:, None] - keys
    hidden = distance < 0
    return hidden if window is None else hidden | (distance >= window)
