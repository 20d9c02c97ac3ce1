"""What training lowers: an objective says what it reads of the data, and what its loss is.

The usual one is the cross-entropy of the answers. Others are beside it: preferences.py,
thumbs.py, corpus.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sartor.data.records import TrainingData
from sartor.models.prefix import Prefix
from sartor.training.packing import Encoded, answer_loss, encode
from sartor.training.sharing import Sequenced

if TYPE_CHECKING:
    import torch

    Virtual = torch.Tensor | Prefix | None

VALIDATION_EXAMPLES = 100
"""Validation examples that the loss is watched on; more would cost more than they tell."""


class Item(Sequenced, Protocol):
    """What one example is to a training step; `tokens` are all that it puts through the model."""

    @property
    def id(self) -> str: ...


@dataclass(frozen=True)
class Reading:
    """What an objective may use to read the data."""

    network: Any
    tokenizer: Any
    context: int
    """Tokens that an example may have."""
    virtual: Callable[[], Virtual]
    """What stands before every example now."""
    autocast: Callable[[], AbstractContextManager[Any]]
    pack_tokens: int
    """Tokens to put through the network at once."""


class Objective(Protocol):
    """One for each run of training: it may keep what it has read."""

    def read(self, reading: Reading, data: TrainingData) -> tuple[Sequence[Any], Sequence[Any]]:
        """The items to train on, and those to watch; the network is as training finds it."""
        ...

    def weight(self, item: Any) -> float:
        """What the item counts in the mean that is lowered."""
        ...

    def begin(self, network: Any, batch: Sequence[Any], reading: Reading) -> None:
        """Called, without gradients, before the packs of a step or of a look at validation."""
        ...

    def loss(self, network: Any, pack: Sequence[Any], virtual: Virtual) -> torch.Tensor:
        """The sum of the losses of a pack's items, each times its weight."""
        ...


@dataclass(frozen=True)
class Answers:
    """The cross-entropy of the tokens of right answers."""

    def read(self, reading: Reading, data: TrainingData) -> tuple[list[Encoded], list[Encoded]]:
        """Right answers after their requests."""
        held = sorted(data.validation, key=lambda e: e.id)[:VALIDATION_EXAMPLES]
        train = encode(reading.tokenizer, data.train, reading.context)
        return train, encode(reading.tokenizer, held, reading.context)

    def weight(self, item: Encoded) -> float:
        return len(item.tokens) - item.prompt

    def begin(self, network: Any, batch: Sequence[Encoded], reading: Reading) -> None:
        return None

    def loss(self, network: Any, pack: Sequence[Encoded], virtual: Virtual) -> torch.Tensor:
        return answer_loss(network, pack, virtual)[0]
