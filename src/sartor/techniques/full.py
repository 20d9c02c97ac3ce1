"""Full fine-tuning: every weight of the base is trained.

The dearest in memory (weights, gradients and two moments in float32: 16 bytes a parameter) and on
disk (a whole model); the yardstick that adapters are measured against.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.records import TrainingData
from sartor.models import base_card, local
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.outline import empty_alike
from sartor.settings import STRICT
from sartor.techniques import layers, weights
from sartor.techniques.technique import Customization
from sartor.techniques.trained import Course, TrainedTechnique, fit_weights
from sartor.training.state import writing

BEFORE = ("embed", "wte", "wpe", "word_embeddings")
"""How architectures begin the names of what stands before the blocks."""


@dataclass(frozen=True, config=STRICT)
class FullFineTuning(TrainedTechnique):
    """All weights, in float32 with bfloat16 matrix products where the machine has them."""

    name: ClassVar[str] = "full"
    learning_rates: tuple[float, ...] = (1e-4, 4e-4, 1.2e-3)
    weight_decay: float = 0.01
    upper_layers: int | None = None
    """Train only so many of the uppermost layers, and what comes after them; the others, and the
    embeddings, stay as they are and take no memory for gradients. All when not given."""

    def __post_init__(self) -> None:
        TrainedTechnique.__post_init__(self)
        layers.refuse_none(self.name, self.upper_layers)

    def refuse(self, base: ModelCard) -> None:
        """TrainingError where the base has fewer layers than are to be trained."""
        if self.upper_layers is not None and (network := empty_alike(base)) is not None:
            layers.upper(network, self.upper_layers, self.name)

    def fit(
        self, base: ModelCard, data: TrainingData, directory: Path,
        course: Course | None = None,
    ) -> Customization:  # fmt: skip
        """Train all weights and write the whole model, in the precision of the base."""

        def prepare(network: Any) -> weights.Prepared:
            if self.upper_layers is not None:
                _freeze_below(network, self.upper_layers)
            trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
            return weights.Prepared(trained, lambda folder: save_whole(network, base, folder))

        return fit_weights(self, base, data, directory, prepare, frozen=False, course=course)

    def load(self, customization: Customization) -> LanguageModel:
        """The trained model."""
        trained = replace(customization.base, path=customization.directory)
        with weights.reading(customization):
            network = local.load_network(trained, local.inference_dtype(customization.base))
        return weights.answering(customization, network, system=self.system)


def _freeze_below(network: Any, count: int) -> None:
    """Leave the uppermost blocks trainable, and the norm after them; a head that is tied to the
    embeddings stays with them."""
    chosen = layers.upper(network, count, "full")
    trained = {id(p) for _, block in chosen for p in block.parameters()}
    inside = {id(p) for _, block in layers.blocks(network) for p in block.parameters()}
    tied = {id(p) for p in network.get_input_embeddings().parameters()}
    for name, parameter in network.named_parameters():
        before = any(part.startswith(BEFORE) for part in name.split("."))
        follows = not before and id(parameter) not in inside | tied
        parameter.requires_grad_(id(parameter) in trained or follows)


def save_whole(network: Any, base: ModelCard, folder: Path) -> None:
    """Write the network as a model that transformers reads, in the precision of the base."""
    network.config._attn_implementation = None  # how we trained is not how others must run it
    network.to(local.stored_dtype(base)).save_pretrained(folder)


def keep_as_base(network: Any, base: ModelCard, folder: Path) -> None:
    """Write the network, made of `base`, as a base of its own: whole or not at all."""
    temporary = folder.with_name(f"{folder.name}.tmp")
    for stale in (temporary, folder):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        with writing(folder):
            save_whole(network, base, temporary)
            _copy_beside(Path(base.path), temporary)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copy_beside(source: Path, folder: Path) -> None:
    """What a base has beside its weights: its tokenizer, and code of its own."""
    for path in (path for pattern in base_card.BESIDE for path in source.glob(pattern)):
        there = folder / path.name
        if not there.exists() and not path.name.endswith(".safetensors.index.json"):
            shutil.copyfile(path, there)


def kept_base(base: ModelCard, folder: Path) -> ModelCard:
    """The card of what was kept so, by the name of the base it was made from."""
    found = base_card.describe(str(folder), trust_remote_code=base.trust_remote_code)
    return replace(found, name=base.name, license=base.license, context=base.context)
