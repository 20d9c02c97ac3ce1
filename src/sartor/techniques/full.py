"""Full fine-tuning: every weight of the base is trained.

The dearest in memory (weights, gradients and two moments in float32: 16 bytes a parameter) and on
disk (a whole model); the yardstick that adapters are measured against.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.records import TrainingData
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.settings import STRICT
from sartor.techniques import weights
from sartor.techniques.technique import Customization


@dataclass(frozen=True, config=STRICT)
class FullFineTuning(weights.TrainedTechnique):
    """All weights, in float32 with bfloat16 matrix products where the machine has them."""

    name: ClassVar[str] = "full"
    learning_rates: tuple[float, ...] = (1e-4, 4e-4, 1.2e-3)
    weight_decay: float = 0.01

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Train all weights and write the whole model, in the precision of the base."""

        def prepare(network: Any) -> weights.Prepared:
            return weights.Prepared(
                dict(network.named_parameters()), lambda folder: _save(network, base, folder)
            )

        return weights.fit(self, base, data, directory, prepare, frozen=False)

    def load(self, customization: Customization) -> LanguageModel:
        """The trained model."""
        from dataclasses import replace

        from sartor.models import local

        trained = replace(customization.base, path=customization.directory)
        with weights.reading(customization):
            network = local.load_network(trained, local.inference_dtype(customization.base))
        return weights.answering(customization, network, system=self.system)


def _save(network: Any, base: ModelCard, folder: Path) -> None:
    from sartor.models import local

    network.config._attn_implementation = None  # how we trained is not how others must run it
    network.to(local.stored_dtype(base)).save_pretrained(folder)
