"""Low-rank adapters: train two thin matrices beside each frozen weight.

Only the adapter is written to disk, in PEFT's own format, so that other engines can load it; for
answering it is folded into the base weights. Hu et al. 2021, arXiv:2106.09685, section 4.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.records import TrainingData
from sartor.errors import SettingError
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.settings import STRICT
from sartor.techniques import weights
from sartor.techniques.technique import Customization


@dataclass(frozen=True, config=STRICT)
class LoRA(weights.TrainedTechnique):
    """Adapters on every linear layer of the blocks; the base stays as it is."""

    name: ClassVar[str] = "lora"
    rank: int = 16
    """Width of the adapters. Doubling it doubles their size on disk; 8 to 64 is usual."""
    alpha: float = 32.0
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = 0.0
    """Part of the adapters' input that is dropped while training."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Layers that get an adapter, by the end of their name."""
    learning_rates: tuple[float, ...] = (5e-4, 2e-3, 6e-3)

    def __post_init__(self) -> None:
        weights.TrainedTechnique.__post_init__(self)
        if self.rank < 1:
            raise SettingError(
                f"lora: rank is {self.rank}; it must be 1 or more (8 to 64 is usual)"
            )
        if not 0 <= self.dropout < 1:
            raise SettingError(f"lora: dropout is {self.dropout}; it lies in [0, 1)")

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Train the adapters; raises TrainingError where the base has no layer to adapt."""

        def prepare(network: Any) -> weights.Prepared:
            adapted = self._adapted(network)
            named = {n: p for n, p in network.named_parameters() if p.requires_grad}
            return weights.Prepared(named, lambda folder: adapted.save_pretrained(folder))

        return weights.fit(self, base, data, directory, prepare, frozen=True)

    def _adapted(self, network: Any) -> Any:
        chosen = self.target_modules
        with weights.peft_errors(self.name):
            import peft

            config = peft.LoraConfig(
                r=self.rank,
                lora_alpha=self.alpha,
                lora_dropout=self.dropout,
                target_modules=chosen if isinstance(chosen, str) else list(chosen),
                task_type="CAUSAL_LM",
            )
            return peft.get_peft_model(network, config)

    def load(self, customization: Customization) -> LanguageModel:
        """The base with the adapters folded in."""
        from sartor.models import local

        network = local.load_network(customization.base, local.inference_dtype(customization.base))
        with weights.peft_errors(self.name):
            import peft
        with weights.reading(customization):
            adapted = peft.PeftModel.from_pretrained(network, customization.directory)
        return weights.answering(customization, adapted.merge_and_unload(), system=self.system)
