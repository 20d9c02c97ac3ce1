"""Rows of a tensor, few enough at a time that what is made of them stays in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def pieces(rows: torch.Tensor, numbers: int) -> Iterator[slice]:
    """So many numbers of (rows, width) at a time for each thread, on a CPU; elsewhere all."""
    step = max(1, len(rows))
    if rows.device.type == "cpu":
        step = max(1, numbers * torch.get_num_threads() // rows.shape[-1])
    return (slice(start, start + step) for start in range(0, len(rows), step))
