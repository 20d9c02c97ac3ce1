"""What a technique hands to the loop, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sartor.models.prefix import Prefix
from sartor.training.objective import Answers, Objective, Reading
from sartor.training.sharding import run

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
    objective: Objective = field(default_factory=Answers)
    """Whose loss is lowered."""
    frozen: bool = False
    """The base's own weights stay as they are; what is trained stands beside them, and is small."""

    def autocast(self) -> AbstractContextManager[Any]:
        import torch

        if not self.mixed_precision:
            return nullcontext()
        return torch.autocast(self.network.device.type, torch.bfloat16)

    def reading(self, pack_tokens: int) -> Reading:
        """What the objective may use to read the data, so many tokens at once."""
        return Reading(
            self.network,
            self.tokenizer,
            self.context,
            lambda: self.virtual() if self.virtual else None,
            self.autocast,
            pack_tokens,
        )

    def counted(self, items: Sequence[Any]) -> float:
        """What the summed loss of these is divided by: their answers' tokens, usually."""
        return sum(map(self.objective.weight, items))

    def loss(self, pack: Sequence[Any]) -> tuple[torch.Tensor, float]:
        """(summed loss of a pack, `counted` of it)."""
        virtual = self.virtual() if self.virtual else None
        with self.autocast():
            loss = run(self.network, lambda: self.objective.loss(self.network, pack, virtual))
        return loss, self.counted(pack)


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
