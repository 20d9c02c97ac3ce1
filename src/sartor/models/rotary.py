"""Queries and keys turned by their positions (Su et al. 2021, arXiv:2104.09864)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

CHANGING = ("dynamic", "longrope")
"""Rotary positions that depend on the longest prompt of a row."""


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


def apart(network: Any, lengths: Sequence[int]) -> list[list[int]]:
    """Places of examples of these lengths that may go through together. Where rotary positions
    depend on the longest of them (longrope, dynamic), those that reach so far go alone."""
    config = network.config.get_text_config(decoder=True)
    rotary = getattr(config, "rope_parameters", None) or {}
    everyone = list(range(len(lengths)))
    if rotary.get("rope_type") not in CHANGING:
        return [everyone]
    usual = rotary.get("original_max_position_embeddings")
    usual = usual or getattr(config, "original_max_position_embeddings", None)
    usual = usual or config.max_position_embeddings
    short = [i for i in everyone if lengths[i] <= usual]
    far = [[i] for i in everyone if lengths[i] > usual]
    return [short, *far] if short or not far else far
