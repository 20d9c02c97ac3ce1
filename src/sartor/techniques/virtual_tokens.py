"""Virtual tokens before every request, as embeddings: what p-tuning and prompt tuning share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from sartor.errors import TrainingError
from sartor.models import local
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.outline import Outline
from sartor.settings import STRICT
from sartor.techniques import soft_prompt, weights
from sartor.techniques.soft_prompt import SoftPrompt
from sartor.techniques.technique import Customization

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, config=STRICT)
class VirtualTokens(SoftPrompt, ABC):
    """A technique that trains embeddings to stand before every request."""

    @abstractmethod
    def _module(self, tokens: torch.Tensor) -> torch.nn.Module:
        """What is trained: called, it gives the virtual tokens, at first `tokens` (virtual tokens,
        hidden)."""

    def trainable(self, shape: Outline) -> int:
        """How many values will be trained on a base of that shape."""
        return self.virtual_tokens * shape.hidden

    def load(self, customization: Customization) -> LanguageModel:
        """The base with the virtual tokens before every request."""
        network = local.load_network(customization.base, local.inference_dtype(customization.base))
        virtual = soft_prompt.read(customization).to(network.device, network.dtype)
        return weights.answering(customization, network, system=self.system, virtual=virtual)

    def _refuse_network(self, network: Any, context: int) -> None:
        """Gemma 3n and 4 look tokens up in every layer: a virtual one is nowhere there."""
        if getattr(network.config.get_text_config(decoder=True), "hidden_size_per_layer_input", 0):
            raise TrainingError(
                f"{self.name}: a {type(network).__name__} looks its tokens up in every layer, so "
                "virtual tokens cannot stand before them. Use lora or full, or another base."
            )

    def _begun(self, network: Any, tokens: list[int]) -> torch.nn.Module:
        return self._module(embedded(network, tokens))

    def _save(self, made: Any, base: ModelCard, folder: Path) -> None:
        kind = {"peft_type": "PROMPT_TUNING", "token_dim": made.shape[1]}
        soft_prompt.save(folder, base, made, kind)


def embedded(network: Any, tokens: list[int]) -> torch.Tensor:
    """The base's embeddings of real tokens, in float32: (tokens, hidden)."""
    import torch

    with torch.no_grad():
        at = torch.tensor(tokens, dtype=torch.long, device=network.device)
        found: torch.Tensor = network.get_input_embeddings()(at).float()
    return found
