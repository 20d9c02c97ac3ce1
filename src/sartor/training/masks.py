"""What a query of a causal model must not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.training.sharing import Span

if TYPE_CHECKING:
    import torch

BLOCK = 192
"""Queries at a time; each sees only the keys up to its end."""
KEPT = 1024
"""Keys that a span may see for what its queries gave them to be kept for the backward pass."""
NARROW = 512
"""Width of all heads below which it is kept: in wider models attention is a small part of the work,
and cheap to do again."""


def hidden(
    start: int, end: int, first: int, window: int | None, device: torch.device
) -> torch.Tensor:
    """Which of the keys `first` to `end` each query from `start` to `end` must not see."""
    import torch

    queries, keys = torch.arange(start, end, device=device), torch.arange(first, end, device=device)
    distance = queries[:, None] - keys
    unseen = distance < 0
    return unseen if window is None else unseen | (distance >= window)


def seen(keys: torch.Tensor, span: Span) -> torch.Tensor:
    """Those of keys (..., tokens, dimension) that a span sees: of the spans before it, its own."""
    import torch

    own = keys[..., span.start : span.end, :]
    before = [keys[..., start:end, :] for start, end in span.before]
    return torch.cat([*before, own], -2) if before else own
