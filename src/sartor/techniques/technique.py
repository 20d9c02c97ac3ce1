"""What every way of customizing a model is to the rest of sartor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from sartor.data.records import TrainingData
from sartor.models.language_model import LanguageModel, ModelCard

RECORD = "customization.json"
"""Where a folder keeps the record of what was made in it; written last."""


@dataclass(frozen=True, slots=True)
class Customization:
    """What `fit` made: a record. Only `Technique.load` touches weights."""

    technique: str
    base: ModelCard
    directory: str
    digest: str
    trainable_parameters: int
    seconds: float
    """Wall seconds that `fit` took, over all its sittings."""
    peak_memory: int
    """Bytes, of the process while fitting."""
    notes: tuple[str, ...] = ()
    """What was chosen inside `fit` (learning rate, steps), for people."""
    paid: float = 0.0
    """To providers of remote models for what `fit` asked them, in the project's currency."""


class Technique(Protocol):
    """A way to customize a base model. It is handed `TrainingData`: it cannot see the test part.

    It may have three methods more: `refuse(base)` raises ModelError where it cannot work on this
    base or machine, before anything is spent; `trainable(shape)` says how many values it will
    train; `made_of()` gives a digest of what else of the user's it reads: changed, it is fitted
    again. Two attributes: `needs_weights` is true of one that cannot work on a remote model; `asks`
    names other models whose answers it learns from, such as a teacher.
    """

    name: ClassVar[str]

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Customize `base`; everything `load` needs is left in `directory`.

        Can be stopped at any moment and called again: it goes on, and ends the same.
        """
        ...

    def load(self, customization: Customization) -> LanguageModel:
        """The customized model, ready to answer."""
        ...
