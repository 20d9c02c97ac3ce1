"""P-tuning: virtual tokens before the request, made by a small trained encoder; the base is frozen.

The encoder (an embedding for each virtual token, and a multilayer perceptron over them) is only
needed while training. Liu et al. 2021, arXiv:2103.10385, section 3.2; the perceptron as in PEFT's
`PromptEncoder`. What is kept, and what they begin as: virtual_tokens.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.models.outline import Outline
from sartor.settings import STRICT
from sartor.techniques.virtual_tokens import VirtualTokens

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, config=STRICT)
class PTuning(VirtualTokens):
    """Virtual tokens, trained through a prompt encoder and served as embeddings."""

    name: ClassVar[str] = "p-tuning"
    encoder_hidden: int = 256
    """Width of the prompt encoder; it costs training time and memory only."""
    learning_rates: tuple[float, ...] = (3e-3, 1e-2)

    def __post_init__(self) -> None:
        VirtualTokens.__post_init__(self)
        if self.encoder_hidden < 1:
            raise SettingError(
                f"p-tuning: encoder_hidden is {self.encoder_hidden}; it must be 1 or more "
                "(128 to 1024 is usual)"
            )

    def trainable(self, shape: Outline) -> int:
        """How many values will be trained on a base of that shape, the encoder's included."""
        width = self.encoder_hidden
        encoder = (2 * shape.hidden + width + 2) * width + shape.hidden
        return VirtualTokens.trainable(self, shape) + encoder

    def _module(self, tokens: torch.Tensor) -> torch.nn.Module:
        import torch

        width, hidden = self.encoder_hidden, tokens.shape[1]

        class PromptEncoder(torch.nn.Module):
            """(virtual tokens, hidden): real tokens' embeddings, moved by a perceptron."""

            def __init__(self) -> None:
                super().__init__()
                self.tokens = torch.nn.Parameter(tokens)
                self.scale = float(tokens.std())
                last = torch.nn.Linear(width, hidden)
                torch.nn.init.zeros_(last.weight)  # at first they are not moved
                torch.nn.init.zeros_(last.bias)
                self.perceptron = torch.nn.Sequential(
                    torch.nn.Linear(hidden, width),
                    torch.nn.ReLU(),
                    torch.nn.Linear(width, width),
                    torch.nn.ReLU(),
                    last,
                )

            def forward(self) -> torch.Tensor:
                moved: torch.Tensor = self.perceptron(self.tokens / self.scale)
                return self.tokens + self.scale * moved

        return PromptEncoder()
