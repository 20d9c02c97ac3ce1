"""What a technique hands to the loop, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sartor.models.prefix import Prefix
from sartor.training.packing import Encoded, answer_loss

if TYPE_CHECKING:
    import torch

CURVE = "curve.json"
"""File beside what was trained: what training came to, as `Trained`."""


@dataclass(frozen=True)
class Trainable:
    """A network and which of its values training may change."""

    network: Any
    tokenizer: Any
    parameters: dict[str, torch.nn.Parameter]
    context: int
    virtual: Callable[[], torch.Tensor | Prefix] | None = None
    """Virtual tokens, or keys and values, put before every example, made anew for each pack."""
    mixed_precision: bool = False
    """Run matrix products in bfloat16 (the parameters stay as they are)."""
    base: str = ""
    """Revision of the base."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Learning rates of some parameters, in parts of the others'."""

    def autocast(self) -> AbstractContextManager[Any]:
        import torch

        if not self.mixed_precision:
            return nullcontext()
        return torch.autocast(self.network.device.type, torch.bfloat16)

    def counted(self, examples: Sequence[Encoded]) -> int:
        """What the summed loss of these is divided by: their answers' tokens."""
        return sum(len(example.tokens) - example.prompt for example in examples)

    def loss(self, pack: Sequence[Encoded]) -> tuple[torch.Tensor, int]:
        """(summed loss of a pack, `counted` of it); what a technique with another loss replaces."""
        virtual = self.virtual() if self.virtual else None
        with self.autocast():
            return answer_loss(self.network, pack, virtual)


@dataclass(frozen=True)
class Trained:
    """What training came to."""

    learning_rate: float
    steps: int
    validation_loss: float
    tokens: int
    curve: tuple[tuple[int, float, float], ...]
    """(step, training loss since the last look, validation loss), of the whole run."""
    halvings: int = 0
    """How often the learning rate was halved since a step broke."""

    def notes(self) -> tuple[str, ...]:
        lowered = f", halved {self.halvings} times" if self.halvings else ""
        return (
            f"learning rate {self.learning_rate:g}{lowered}",
            f"{self.steps} steps, {self.tokens:,} tokens",
            f"validation loss {self.validation_loss:.3f}",
        )
