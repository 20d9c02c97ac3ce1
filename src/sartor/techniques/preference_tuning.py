"""What techniques share that train on preferences: right answers first, then what was judged.

Both in one run over the same weights: the model as the answers left it is the reference that the
preferences are measured from. The objectives are in training/preferences.py and thumbs.py.
"""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.files import digest
from sartor.data.records import Example, TrainingData
from sartor.errors import DataError, SettingError
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.settings import STRICT, settings_of, told_by
from sartor.techniques.lora import LoRA
from sartor.techniques.technique import Customization
from sartor.techniques.trained import TrainedTechnique
from sartor.techniques.wrapping import INNER, around, load_inner, save_inner
from sartor.tracking.tracker import stage
from sartor.training.judged import pairs_of
from sartor.training.loop import Trainable, Trained, TrainingSettings, train
from sartor.training.objective import Objective
from sartor.training.watching import watched_by

ANSWERS = "answers"
"""Folder of the first stage's state."""


@dataclass(frozen=True, config=STRICT)
class PreferenceTuning(ABC):
    """A technique that trains what is inside on judged answers."""

    name: ClassVar[str]
    reads_documents: ClassVar[bool] = False
    inner: Any = LoRA()
    """The technique whose weights are trained, and how they are kept and served."""
    beta: float = 0.1
    """How far the model may move: the smaller, the farther. 0.01 to 0.5 is usual."""
    supervised: bool = True
    """Train on right answers first, as the technique inside does by itself. Without that the base
    must be able to answer already."""
    learning_rates: tuple[float, ...] = (5e-5, 2e-4, 1e-3)
    """Peaks to try for the preferences; they are smaller than those for answers."""
    epochs: float = 3.0
    """At most so many passes over what was judged."""

    def __post_init__(self) -> None:
        if not isinstance(self.inner, TrainedTechnique):
            inside = getattr(self.inner, "name", type(self.inner).__name__)
            raise SettingError(
                f"{self.name}: {inside} inside it has no weights to train on preferences. Put one "
                f"that trains directly inside, such as '{self.name}+lora'; one that changes the "
                f"prompt goes before: 'rag+{self.name}+lora'."
            )
        if not 0 < self.beta < float("inf"):
            raise SettingError(
                f"{self.name}: beta is {self.beta}; it must be above 0 (0.01 to 0.5 is usual)"
            )
        with told_by(self.name):
            self._preferring(self.inner)  # refuses wrong rates and epochs

    @abstractmethod
    def _objective(self) -> Objective:
        """A new one for a run."""

    def _judged(self, data: TrainingData) -> Sequence[Example]:
        """The training examples that can be learned from."""
        return pairs_of(data.train)

    def _preferring(self, options: Any) -> Any:
        return replace(options, learning_rates=self.learning_rates, epochs=self.epochs)

    def refuse_data(self, data: TrainingData) -> None:
        """DataError where no training example was judged."""
        if not self._judged(data):
            raise DataError(
                f"{self.name}: none of {len(data.train)} training examples has "
                f"{self._wanted}, so there is no preference to learn. Give some examples a "
                "`rejected` answer or a `correction` (docs/formats.md), or leave "
                f"{self.name} out of [customize] candidates."
            )

    _wanted: ClassVar[str] = "both a right answer and a rejected one"

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Train on right answers, then on preferences; raises DataError where there are none."""
        self.refuse_data(data)
        began = time.perf_counter()
        judged = self._judged(data)
        own = time.perf_counter() - began
        fit = partial(self.inner.fit, course=self)
        by = settings_of(self)
        inner = save_inner(self.inner, base, data, directory, by=by, fit=fit)
        shutil.rmtree(directory / INNER / ANSWERS, ignore_errors=True)
        note = f"{len(judged)} judged examples"
        return around(self, inner, directory, made_of=None, seconds=own, note=note)

    def course(
        self, trainable: Trainable, data: TrainingData, options: TrainingSettings,
        directory: Path, what: str,
    ) -> Trained:  # fmt: skip
        """Right answers, then preferences."""
        if self.supervised:
            with watched_by(None), stage("answers"):
                train(trainable, data, options, directory / ANSWERS, f"{what}: answers")
        own = {key: value for key, value in settings_of(self).items() if key != "inner"}
        preferring = replace(
            trainable,
            objective=self._objective(),
            base=digest(trainable.base, own),  # not gone on from with other settings
        )
        return train(preferring, data, self._preferring(options), directory, f"{what}: {self.name}")

    def load(self, customization: Customization) -> LanguageModel:
        """What is inside, as its own technique serves it."""
        return load_inner(self.inner, customization)
