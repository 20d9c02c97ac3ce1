"""Prefix tuning (P-tuning v2): trained keys and values before the request, in every layer.

More room to steer a model than virtual tokens before its first layer, with no weight changed. Li
and Liang 2021, arXiv:2101.00190, whose section 7.4 begins it as real words' activations; Liu et al.
2021, arXiv:2110.07602, section 3.3, from which it is that they are trained as they are, with no
network before them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import TrainingError
from sartor.models import generation, local, prefix
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.outline import Outline
from sartor.settings import STRICT
from sartor.techniques import soft_prompt, weights
from sartor.techniques.soft_prompt import SoftPrompt
from sartor.techniques.technique import Customization


@dataclass(frozen=True, config=STRICT)
class PrefixTuning(SoftPrompt):
    """Keys and values for every layer, trained and served as they are."""

    name: ClassVar[str] = "prefix-tuning"
    virtual_tokens: int = 30
    """How many tokens they stand for; each takes a place in the context of every request."""
    learning_rates: tuple[float, ...] = (1e-2, 3e-2)

    def trainable(self, shape: Outline) -> int:
        """How many values will be trained on a base of that shape."""
        return self.virtual_tokens * shape.cached

    def load(self, customization: Customization) -> LanguageModel:
        """The base, which begins every request from the trained keys and values."""
        network = local.load_network(customization.base, local.inference_dtype(customization.base))
        kept = soft_prompt.read(customization)
        with weights.reading(customization):
            made = prefix.from_flat(network, kept)
        return weights.answering(customization, network, system=self.system, virtual=made)

    def _refuse_network(self, network: Any, context: int) -> None:
        """Where layers do not see far enough back."""
        if not generation.sees_all(network, context):
            raise TrainingError(
                f"prefix-tuning: layers of a {type(network).__name__} see only the last tokens, or "
                "keep a running state: what stands before a long request would be out of sight. "
                "Use p-tuning or lora, or another base."
            )

    def _begun(self, network: Any, tokens: list[int]) -> Any:
        return _trained(_of_tokens(network, tokens))

    def _save(self, made: prefix.Prefix, base: ModelCard, folder: Path) -> None:
        _, heads, _, width = made.layers[0][0].shape
        kind = {
            "peft_type": "PREFIX_TUNING",
            "num_layers": len(made.layers),
            "num_attention_heads": heads,
            "token_dim": heads * width,
            "prefix_projection": False,
        }
        soft_prompt.save(folder, base, made.flat(), kind if made.is_uniform else None)


def _of_tokens(network: Any, tokens: list[int]) -> prefix.Prefix:
    try:
        return prefix.of_tokens(network, tokens)
    except AttributeError as error:
        raise TrainingError(
            f"prefix-tuning: a {type(network).__name__} keeps something else than keys and values "
            f"by layer ({error}). Use p-tuning or lora, or another base."
        ) from error


def _trained(first: prefix.Prefix) -> Any:
    """A module that gives the prefix; each tensor is held in parts of its spread, so that one rate
    suits all layers."""
    import torch

    class Trained(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            flat = [t.float() for pair in first.layers for t in pair]
            self.scales = [float(t.std()) or 1.0 for t in flat]
            scaled = [t / scale for t, scale in zip(flat, self.scales, strict=True)]
            self.parts = torch.nn.ParameterList(scaled)

        def forward(self) -> prefix.Prefix:
            parts = iter([p * scale for p, scale in zip(self.parts, self.scales, strict=True)])
            return prefix.Prefix(tuple(zip(parts, parts, strict=True)))

    return Trained()
