"""Norms and gates in one go over their numbers: in C on a CPU, by Liger's kernels on a GPU."""

from __future__ import annotations

from typing import Protocol

import torch

from sartor.kernels import calls, liger


class Elementwise(Protocol):
    """What calls.py and liger.py both have."""

    def norm(
        self, x: torch.Tensor, weight: torch.Tensor, epsilon: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x (..., width) normed, and what `norm_back` is told of each row."""
        ...

    def norm_back(
        self, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, dy: torch.Tensor
    ) -> torch.Tensor:
        """The gradient of x."""
        ...

    def gated(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """silu(gate) * up."""
        ...

    def gated_back(
        self, gate: torch.Tensor, up: torch.Tensor, dy: torch.Tensor, room: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of gate and up; any of what is given may be written over. `room` is
        contiguous and as large, as `dy` is."""
        ...


def elementwise(*tensors: torch.Tensor) -> Elementwise | None:
    """What computes on these; None where torch's own operations must."""
    if calls.fits(*tensors):
        return calls
    return liger if liger.fits(*tensors) else None
