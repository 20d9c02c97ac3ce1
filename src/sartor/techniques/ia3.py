"""IA3: scale keys, values and the feed-forward's inner activations by learned vectors.

Some thousand numbers in all; folded into the base weights for answering. Written in PEFT's own
format. Liu et al. 2022, arXiv:2205.05638, section 3.3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.records import TrainingData
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.outline import Outline, empty_alike
from sartor.settings import STRICT
from sartor.techniques import layers, weights
from sartor.techniques.technique import Customization
from sartor.techniques.trained import Course, TrainedTechnique, fit_weights


@dataclass(frozen=True, config=STRICT)
class IA3(TrainedTechnique):
    """Vectors on keys, values and feed-forward blocks; the base stays as it is."""

    name: ClassVar[str] = "ia3"
    learning_rates: tuple[float, ...] = (1e-2, 3e-2, 1e-1)

    def trainable(self, shape: Outline) -> int:
        """How many values will be trained on a base of that shape, at most."""
        ends = (*layers.KEYS_AND_VALUES, *layers.FEED_FORWARD)
        return sum(width for name, width in shape.linears if name.endswith(ends))

    def refuse(self, base: ModelCard) -> None:
        """TrainingError where keys and values cannot be found."""
        if (network := empty_alike(base)) is not None:
            layers.ia3_layers(network)

    def fit(
        self, base: ModelCard, data: TrainingData, directory: Path,
        course: Course | None = None,
    ) -> Customization:  # fmt: skip
        """Train the vectors; raises TrainingError where keys and values cannot be found."""

        def prepare(network: Any) -> weights.Prepared:
            attention, feed_forward = layers.ia3_layers(network)
            with weights.peft_errors(self.name):
                import peft

                config = peft.IA3Config(
                    target_modules=[*attention, *feed_forward],
                    feedforward_modules=feed_forward,
                    task_type="CAUSAL_LM",
                )
            return weights.adapted(self.name, network, config)

        return fit_weights(self, base, data, directory, prepare, frozen=True, course=course)

    def load(self, customization: Customization) -> LanguageModel:
        """The base with the vectors folded in."""
        return weights.folded(self.name, customization, self.system)
