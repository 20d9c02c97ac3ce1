"""Attention over each example of a pack by itself, as an implementation that transformers can use.

A pack is one row of many examples; `spans` say what sees what. Whether a model gives in a pack
what it gives alone is tried on a few tokens before it is believed: architectures differ in what
they hand to their attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.models.generation import must_go_alone
from sartor.models.prefix import Pair, Prefix
from sartor.progress import say
from sartor.training.masks import BLOCK, hidden, seen
from sartor.training.sharing import Row, Span

if TYPE_CHECKING:
    import torch

ATTENTION = "sartor_packed"
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Mean difference of the logits, in parts of their mean size, that rounding alone explains."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a layer asks of its attention."""

    scaling: float
    window: int | None
    softcap: float | None
    others: bool
    """Whether it hands on anything else that changes what attention gives."""


def is_packed(network: Any) -> bool:
    """Whether the model runs packs."""
    return bool(network.config._attn_implementation == ATTENTION)


def use_packed_attention(network: Any, prefix: Prefix | None = None) -> bool:
    """Switch the model to packs, where what it gives stays the same, behind the `prefix` too where
    there is one; says whether it was done."""
    import torch
    from transformers import AttentionInterface

    from sartor.training.head import use_plain_head

    if is_packed(network):
        return True
    if not getattr(network, "_supports_attention_backend", False) or must_go_alone(network):
        return False
    config = network.config.get_text_config(decoder=True)
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        return False
    before = network.config._attn_implementation
    alone = _alone(network, prefix)
    AttentionInterface.register(ATTENTION, _attend)
    network.set_attn_implementation(ATTENTION)
    if _same(alone, network, prefix):
        use_plain_head(network, torch.tensor(BEGINNING + TRIED[1], device=network.device))
        return True
    network.set_attn_implementation(before)
    say(f"a {type(network).__name__} does not run packs of examples; it trains on padded batches")
    return False


BEGINNING = (5, 3, 4)
TRIED = ((3, 5, 4), (4, 3, 5, 6, 3))
"""Two small examples, and what both begin with."""


def _alone(network: Any, prefix: Prefix | None) -> torch.Tensor:
    """What the model makes of `TRIED`, one at a time: logits (all tokens, vocabulary)."""
    import torch

    network.eval()
    with torch.no_grad():
        ids = [torch.tensor([BEGINNING + tokens], device=network.device) for tokens in TRIED]
        given = [
            {"past_key_values": prefix.cache(network)} if prefix else {"use_cache": False}
            for _ in ids
        ]
        own = [network(input_ids=i, **g).logits[0] for i, g in zip(ids, given, strict=True)]
        return torch.cat([own[0], own[1][len(BEGINNING) :]])


def _same(alone: torch.Tensor, network: Any, prefix: Prefix | None) -> bool:
    import torch

    shared = (0, len(BEGINNING))
    spans = [Span(*shared)]
    for tokens in TRIED:
        spans.append(Span(spans[-1].end, spans[-1].end + len(tokens), (shared,)))
    row = Row((*BEGINNING, *TRIED[0], *TRIED[1]), tuple(spans), (), ())
    ids = torch.tensor(row.tokens, device=network.device)
    positions = torch.tensor(row.positions, device=network.device) + len(prefix or ())
    behind = {"prefix": prefix.layers} if prefix else {}
    try:
        with torch.no_grad():
            packed = network(
                input_ids=ids[None],
                position_ids=positions[None],
                use_cache=False,
                logits_to_keep=torch.arange(len(ids), device=network.device),
                spans=row.spans,
                **behind,
            ).logits[0]
    except (
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
    ):  # it takes no such thing; the caller says so
        return False
    return as_near(packed, alone, alone.dtype)


def as_near(
    found: torch.Tensor, expected: torch.Tensor, computed_in: torch.dtype, most: float = 1.0
) -> bool:
    """Whether they differ by no more than rounding of that kind of number, and than `most`."""
    tolerance = min(most, TOLERANCE.get(str(computed_in).removeprefix("torch."), 1e-3))
    difference = (found.float() - expected.float()).abs().mean()
    return bool(difference <= tolerance * expected.float().abs().mean())


@contextmanager
def noting(asked: dict[int, Asked]) -> Iterator[None]:
    """While a network runs once: note what each of its layers asks."""
    from transformers import AttentionInterface

    def noted(module: Any, query: torch.Tensor, *states: Any, **given: Any) -> Any:
        asked[module.layer_idx] = Asked(
            given.get("scaling") or query.shape[-1] ** -0.5,
            given.get("sliding_window"),
            given.get("softcap"),
            given.get("s_aux") is not None or given.get("dropout", 0.0) > 0,
        )
        return _attend(module, query, *states, **given)

    AttentionInterface.register(ATTENTION, noted)
    try:
        yield
    finally:
        AttentionInterface.register(ATTENTION, _attend)


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
        out = _attend(
            module, behind, keys, values, None, scaling, dropout, sliding_window, softcap, shown
        )[0]
        return out[:, -query.shape[2] :], None
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
