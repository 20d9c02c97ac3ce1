"""Prompt tuning: virtual tokens before the request, trained directly; the base is frozen.

P-tuning without its encoder: fewer numbers to train, and slower to learn. Lester et al. 2021,
arXiv:2104.08691.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic.dataclasses import dataclass

from sartor.settings import STRICT
from sartor.techniques.virtual_tokens import VirtualTokens

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, config=STRICT)
class PromptTuning(VirtualTokens):
    """Virtual tokens, each an embedding that is trained."""

    name: ClassVar[str] = "prompt-tuning"
    learning_rates: tuple[float, ...] = (1e-2, 3e-2, 1e-1)

    def _module(self, tokens: torch.Tensor) -> torch.nn.Module:
        import torch

        class Scaled(torch.nn.Module):
            """(virtual tokens, hidden), held in parts of their spread: one rate suits all bases."""

            def __init__(self) -> None:
                super().__init__()
                self.scale = float(tokens.std())
                self.tokens = torch.nn.Parameter(tokens / self.scale)

            def forward(self) -> torch.Tensor:
                return self.tokens * self.scale

        return Scaled()
