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

from sartor.data.records import TrainingData
from sartor.errors import SettingError, TrainingError
from sartor.models import generation, local, prefix
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.outline import Outline, empty_alike
from sartor.settings import STRICT
from sartor.techniques import virtual_tokens, weights
from sartor.techniques.technique import Customization
from sartor.techniques.trained import Course, TrainedTechnique, fit_weights


@dataclass(frozen=True, config=STRICT)
class PrefixTuning(TrainedTechnique):
    """Keys and values for every layer, trained and served as they are."""

    name: ClassVar[str] = "prefix-tuning"
    virtual_tokens: int = 30
    """How many tokens they stand for; each takes a place in the context of every request."""
    learning_rates: tuple[float, ...] = (1e-2, 3e-2)

    def __post_init__(self) -> None:
        TrainedTechnique.__post_init__(self)
        if self.virtual_tokens < 1:
            raise SettingError(
                f"prefix-tuning: virtual_tokens is {self.virtual_tokens}; it must be 1 or more "
                "(10 to 100 is usual)"
            )

    def trainable(self, shape: Outline) -> int:
        """How many values will be trained on a base of that shape."""
        return self.virtual_tokens * shape.cached

    def refuse(self, base: ModelCard) -> None:
        """TrainingError where layers do not see far enough back."""
        virtual_tokens.refuse_no_room(self.name, self.virtual_tokens, base)
        if (network := empty_alike(base)) is not None:
            _refuse_short_sight(network, base.context)

    def fit(
        self, base: ModelCard, data: TrainingData, directory: Path,
        course: Course | None = None,
    ) -> Customization:  # fmt: skip
        """Train keys and values; raises TrainingError where layers do not see far enough back."""

        def prepare(network: Any) -> weights.Prepared:
            _refuse_short_sight(network, base.context)
            network.requires_grad_(False)
            tokens = virtual_tokens.first(base, data, self.virtual_tokens, self.seed)
            trained = _trained(_begun(network, tokens)).to(network.device)
            return weights.Prepared(
                dict(trained.named_parameters()),
                lambda folder: _save(trained(), base, folder),
                virtual=trained,
            )

        return fit_weights(
            self,
            base,
            data,
            directory,
            prepare,
            frozen=True,
            taken=self.virtual_tokens,
            course=course,
        )

    def load(self, customization: Customization) -> LanguageModel:
        """The base, which begins every request from the trained keys and values."""
        network = local.load_network(customization.base, local.inference_dtype(customization.base))
        kept = virtual_tokens.read(customization)
        with weights.reading(customization):
            made = prefix.from_flat(network, kept)
        return weights.answering(customization, network, system=self.system, virtual=made)


def _refuse_short_sight(network: Any, context: int) -> None:
    if not generation.sees_all(network, context):
        raise TrainingError(
            f"prefix-tuning: layers of a {type(network).__name__} see only the last tokens, or keep"
            " a running state: what stands before a long request would be out of sight. "
            "Use p-tuning or lora, or another base."
        )


def _begun(network: Any, tokens: list[int]) -> prefix.Prefix:
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


def _save(made: prefix.Prefix, base: ModelCard, folder: Path) -> None:
    import torch

    with torch.no_grad():
        flat = made.flat().float().cpu().contiguous()
    _, heads, _, width = made.layers[0][0].shape
    kind = {
        "peft_type": "PREFIX_TUNING",
        "num_layers": len(made.layers),
        "num_attention_heads": heads,
        "token_dim": heads * width,
        "prefix_projection": False,
    }
    virtual_tokens.save(folder, base, flat, kind if made.is_uniform else None)
