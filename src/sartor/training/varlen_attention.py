"""Attention over all spans of a row as one call of FlashAttention's kernel for sequences of many
lengths, which torch has for GPUs (Dao 2023, arXiv:2307.08691).

A span is a sequence of queries. Its keys end with its own, so the keys of spans that see others
before them are gathered. The kernel is tried, forward and backward, before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import torch

from sartor.kernels.trial import failure
from sartor.progress import say
from sartor.training.masks import hidden, seen
from sartor.training.sharing import Span

HALF = (torch.bfloat16, torch.float16)
WIDEST, EVEN = 256, 8
"""Numbers of a head: so many at most, in multiples of so many."""
CAPABILITY = 8
"""Of a GPU: Ampere's, and later ones'."""
TRIED = (Span(0, 300), Span(300, 420, ((0, 300),)), Span(420, 790, ((0, 300),)))
"""More than a tile of the kernel's, of queries and of keys."""
WINDOW = 150
SCALING = 0.3
TOLERANCE = 2e-2
"""Length of the difference from plain attention, in parts of its own, in two bytes a number."""


def fits(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None) -> bool:
    """Whether the kernel is here and takes these: (1, heads, tokens, dimension) each."""
    width = query.shape[-1]
    alike = query.dtype == key.dtype == value.dtype and width == key.shape[-1] == value.shape[-1]
    if query.device.type != "cuda" or query.dtype not in HALF or not alike:
        return False
    if width > WIDEST or width % EVEN:
        return False
    heads = query.shape[1], key.shape[1]
    return _works(query.device, query.dtype, *heads, width, window is not None)


def varlen_attention(
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
    Returns (1, places of the spans, heads, dimension).
    """
    q, k, v = (tensor.transpose(0, 1) for tensor in (query, key, value))
    told = _lengths(tuple(spans), query.device)
    if told.places is not None:
        k, v = k.index_select(0, told.places), v.index_select(0, told.places)
    q = q[spans[0].start : spans[-1].end]
    before = -1 if window is None else window - 1
    made: torch.Tensor = _kernel(
        q.contiguous(), k.contiguous(), v.contiguous(), told.queries, told.keys,
        told.most_queries, told.most_keys, scale=scaling, window_size=(before, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip
    return made[None]


def _kernel(*given: object, **named: object) -> torch.Tensor:
    """torch's own; ImportError where this version has none."""
    from torch.nn.attention.varlen import varlen_attn

    made: torch.Tensor = varlen_attn(*given, **named)  # type: ignore[arg-type, assignment]
    return made


class _Lengths:
    """Where the sequences of queries and of keys begin and end, (spans + 1,) each, and the places
    of the keys; None where every place is the key of its own span alone."""

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        queries, keys = [len(span) for span in spans], [span.offset + len(span) for span in spans]
        self.queries, self.keys = _ends(queries, device), _ends(keys, device)
        self.most_queries, self.most_keys = max(queries), max(keys)
        runs = [run for span in spans for run in (*span.before, (span.start, span.end))]
        self.places: torch.Tensor | None = None
        if len(runs) > len(spans) or spans[0].start:
            self.places = torch.cat([torch.arange(*run) for run in runs]).to(device)


def _ends(lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    ends = torch.tensor([0, *lengths]).cumsum(0)
    return ends.to(device, torch.int32)


@lru_cache(maxsize=8)
def _lengths(spans: tuple[Span, ...], device: torch.device) -> _Lengths:
    """Every layer asks."""
    return _Lengths(spans, device)


@cache
def _works(
    device: torch.device, dtype: torch.dtype, heads: int, kinds: int, width: int, windowed: bool
) -> bool:
    """Whether the kernel gives, forward and backward, what plain attention does."""
    if torch.cuda.get_device_capability(device)[0] < CAPABILITY:
        return False
    window = WINDOW if windowed else None
    reason = failure(device, lambda: _differs(device, dtype, heads, kinds, width, window))
    if reason:
        say(f"FlashAttention's kernel is not used here ({reason}): training is slower without it")
    return not reason


def _differs(
    device: torch.device, dtype: torch.dtype, heads: int, kinds: int, width: int, window: int | None
) -> str:
    """What is wrong with what the kernel gives of random numbers; nothing where all is right."""
    generator = torch.Generator().manual_seed(0)
    drawn = [
        torch.randn(count, TRIED[-1].end, width, generator=generator).to(device, dtype)
        for count in (heads, kinds, kinds)
    ]
    found = _with_gradients(
        drawn, lambda q, k, v: varlen_attention(q, k, v, TRIED, SCALING, window)[0]
    )
    wide = [tensor.float() for tensor in drawn]
    expected = _with_gradients(wide, lambda q, k, v: _plain(q, k, v, window))
    for name, one, other in zip(("values", "gradients"), found, expected, strict=True):
        if not (one - other).norm() <= TOLERANCE * other.norm():  # a no-number is no better
            return f"its {name} are not those of attention"
    return ""


def _with_gradients(
    drawn: Sequence[torch.Tensor], attention: Callable[..., torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What it gives of leaves like these, and their gradients one after another, in float32."""
    leaves = [tensor.detach().requires_grad_() for tensor in drawn]
    made = attention(*leaves)
    made.float().square().sum().backward()  # type: ignore[no-untyped-call]
    gradients = [leaf.grad.float().flatten() for leaf in leaves if leaf.grad is not None]
    return made.detach().float(), torch.cat(gradients)


def _plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
) -> torch.Tensor:
    """Attention over `TRIED`, (tokens, heads, dimension), by the products that define it."""
    groups = len(query) // len(key)
    parts = []
    for span in TRIED:
        k, v = (seen(tensor, span).repeat_interleave(groups, 0) for tensor in (key, value))
        scores = SCALING * query[:, span.start : span.end] @ k.transpose(1, 2)
        unseen = hidden(span.offset, span.offset + len(span), 0, window, query.device)
        parts.append(torch.softmax(scores.masked_fill(unseen, float("-inf")), -1) @ v)
    return torch.cat(parts, 1).transpose(0, 1)
