"""Continued pretraining: the base reads the documents, every token of them; then what is inside.

What comes of it is a base of its own, kept whole, which the technique inside customizes as it would
any other: `continued-pretraining+lora` reads the documents and then trains adapters on examples.
Gururangan et al. 2020, arXiv:2004.10964.
"""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from sartor.data.files import digest
from sartor.data.records import TrainingData
from sartor.errors import DataError, SettingError
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.settings import STRICT, settings_of, told_by
from sartor.techniques.full import FullFineTuning, keep_as_base, kept_base
from sartor.techniques.lora import LoRA
from sartor.techniques.stages import done_once
from sartor.techniques.technique import Customization
from sartor.techniques.wrapping import around, load_inner, save_inner
from sartor.techniques.zero_shot import ZeroShot
from sartor.tracking.tracker import stage
from sartor.training.corpus import Corpus
from sartor.training.loop import Trainable, Trained, TrainingSettings, train

STAGE, BASE = "pretrained", "base"
"""Folders of the first stage and of the base it makes."""


@dataclass(frozen=True, config=STRICT)
class ContinuedPretraining(TrainingSettings):
    """Trains on the text of the documents, before the technique inside does what it does."""

    name: ClassVar[str] = "continued-pretraining"
    reads_documents: ClassVar[bool] = True
    needs_weights: ClassVar[bool] = True
    inner: Any = ZeroShot()
    """What customizes the base that has read the documents."""
    trained: Literal["lora", "full"] = "lora"
    """Whether adapters take up the text, folded into the weights afterwards, or all weights do."""
    rank: int = 64
    """Width of those adapters. Facts need more room than formats do."""
    piece_tokens: int = 512
    """Documents are cut to pieces of at most so many tokens."""
    learning_rates: tuple[float, ...] = (5e-4, 2e-3)
    epochs: float = 3.0

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        if self.piece_tokens < 8:
            raise SettingError(
                f"{self.name}: piece_tokens is {self.piece_tokens}; it must be 8 or more (256 to "
                "2048 is usual)"
            )
        with told_by(self.name):
            self.stage()  # refuses a wrong rank

    def refuse_data(self, data: TrainingData) -> None:
        """DataError where there is nothing to read."""
        if not data.documents:
            raise DataError(
                f"{self.name}: there are no documents to read. Name some under [data] documents, "
                f"or leave {self.name} out of [customize] candidates."
            )

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Train on documents, keep the base that makes, and fit what is inside on it."""
        self.refuse_data(data)
        with stage("documents"):
            read = self._read(base, data, directory)
        inner = save_inner(self.inner, kept_base(base, directory / BASE), data, directory)
        note = f"read {len(data.documents)} documents: {', '.join(read.notes)}"
        made = around(self, inner, directory, made_of=read.digest, seconds=read.seconds, note=note)
        return replace(
            made,
            base=base,
            trainable_parameters=max(read.trainable_parameters, inner.trainable_parameters),
            peak_memory=max(read.peak_memory, inner.peak_memory),
        )

    def load(self, customization: Customization) -> LanguageModel:
        """What is inside, on the base that has read the documents."""
        card = kept_base(customization.base, Path(customization.directory) / BASE)
        return load_inner(self.inner, replace(customization, base=card))

    def course(
        self, trainable: Trainable, data: TrainingData, options: TrainingSettings,
        directory: Path, what: str,
    ) -> Trained:  # fmt: skip
        """The documents' text."""
        objective, base = Corpus(self.piece_tokens), digest(trainable.base, self._own)
        reading = replace(trainable, objective=objective, base=base)
        return train(reading, data, options, directory, self.name)

    @property
    def _own(self) -> dict[str, Any]:
        """Settings but what is inside."""
        return {key: value for key, value in settings_of(self).items() if key != "inner"}

    def stage(self) -> Any:
        """The technique whose weights take up the text."""
        options = {f.name: getattr(self, f.name) for f in fields(TrainingSettings)}
        if self.trained == "full":
            return FullFineTuning(**options)
        return LoRA(rank=self.rank, alpha=2.0 * self.rank, **options)

    def _read(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Train on the documents and keep the base that makes, each unless that was done."""
        stage, folder, kept = self.stage(), directory / STAGE, directory / BASE

        def make() -> Customization:
            shutil.rmtree(kept, ignore_errors=True)
            made: Customization = stage.fit(base, data, folder, course=self)
            return made

        read = done_once(folder, digest(base, self._own, data.documents), make)
        if not kept.is_dir():
            made = replace(read, base=base, directory=str(folder))
            keep_as_base(stage.load(made).inner.network, base, kept)
        for trained in folder.glob("*.safetensors"):
            trained.unlink()
        return read
