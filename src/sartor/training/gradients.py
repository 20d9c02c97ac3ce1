"""Gradients that one of several threads adds up by itself (lanes.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Gradients:
    """Of what is trained, by one lane."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._parameters = parameters
        self._sums: list[Any] = [None] * len(parameters)

    def add(self, loss: torch.Tensor) -> None:
        """Add the loss's."""
        import torch

        made = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        for place, (parameter, one) in enumerate(zip(self._parameters, made, strict=True)):
            if one is None:
                continue
            if self._sums[place] is None:  # others may hold what was made, in another order
                self._sums[place] = torch.empty_like(parameter, requires_grad=False).copy_(one)
            else:
                self._sums[place].add_(one)

    def give(self) -> None:
        """Add them to those that the parameters have."""
        for parameter, one in zip(self._parameters, self._sums, strict=True):
            if one is not None:
                parameter.grad = one if parameter.grad is None else parameter.grad.add_(one)
