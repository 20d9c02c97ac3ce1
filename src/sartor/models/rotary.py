"""Queries and keys turned by their positions (Su et al. 2021, arXiv:2104.09864)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    everyone = list(range(len(lengths)))
    if not changes_with_length(config):
        return [everyone]
    name = "original_max_position_embeddings"
    told = [value for key, value in _settings(config) if key == name and value]
    usual = min(told) if told else getattr(config, name, None) or config.max_position_embeddings
    short = [i for i in everyone if lengths[i] <= usual]
    far = [[i] for i in everyone if lengths[i] > usual]
    return [short, *far] if short or not far else far


def anew_beyond(network: Any) -> int | None:
    """The length beyond which a text is read again as a whole, in Phi-3's kin: its keys were turned
    by the factors of short texts."""
    config = network.config.get_text_config(decoder=True)
    far = any(key == "rope_type" and value == "longrope" for key, value in _settings(config))
    return getattr(config, "original_max_position_embeddings", None) if far else None


def changes_with_length(config: Any) -> bool:
    """Whether positions of some layers depend on how long what goes through together is."""
    return any(key == "rope_type" and value in CHANGING for key, value in _settings(config))


def _settings(config: Any) -> Iterator[tuple[str, Any]]:
    """Of rotary positions; where kinds of layers have their own, those of each."""
    rotary = getattr(config, "rope_parameters", None) or {}
    for key, value in rotary.items():
        yield from value.items() if isinstance(value, dict) else [(key, value)]
