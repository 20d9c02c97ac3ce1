"""Queries and keys turned by their positions (Su et al. 2021, arXiv:2104.09864)."""

from __future__ import annotations

import torch


def turned(
    x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, into: torch.Tensor | None = None
) -> torch.Tensor:
    """First halves against second ones, written `into` a tensor or a new one: (..., width), with
    cosines and sines that spread over it."""
    half = x.shape[-1] // 2
    made = torch.mul(x, cosines, out=into)
    made[..., :half].addcmul_(x[..., half:], sines[..., :half], value=-1)
    made[..., half:].addcmul_(x[..., :half], sines[..., half:])
    return made
