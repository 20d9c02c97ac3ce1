"""Low-rank adapters: train two thin matrices beside each frozen weight.

Only the adapter is written to disk, in PEFT's own format, so that other engines can load it; for
answering it is folded into the base weights. Hu et al. 2021, arXiv:2106.09685, section 4.1; what
came after it is a setting each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from sartor.data.records import TrainingData
from sartor.errors import SettingError, TrainingError
from sartor.models import local
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.outline import Outline, empty_alike
from sartor.settings import STRICT
from sartor.techniques import layers, pissa, weights
from sartor.techniques.dora import give_directions
from sartor.techniques.eva import begin_with_activations, refuse_narrow
from sartor.techniques.experts import LAYERS_ONLY, beside_experts, refuse_adapted
from sartor.techniques.technique import Customization
from sartor.techniques.trained import Course, TrainedTechnique, fit_weights, with_instruction


@dataclass(frozen=True, config=STRICT)
class LoRA(TrainedTechnique):
    """Adapters on every linear layer of the blocks; the base stays as it is."""

    name: ClassVar[str] = "lora"
    rank: int = 16
    """Width of the adapters. Doubling it doubles their size on disk; 8 to 64 is usual."""
    alpha: float = 32.0
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = 0.0
    """Part of the adapters' input that is dropped while training."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Layers that get an adapter: how their names end, or a regular expression of a whole name."""
    upper_layers: int | None = None
    """Adapt only so many of the uppermost layers: the others' gradients are not needed."""
    ranks: dict[str, int] = field(default_factory=dict)
    """Other ranks for some layers, by the end of their name: `{ v_proj = 32 }`; of several that fit
    the longest counts."""
    rank_stabilized: bool = False
    """Scale by alpha / sqrt(rank) (rsLoRA, arXiv:2312.03732): for ranks of 64 and more."""
    dora: bool = False
    """Train each weight's length beside its direction (DoRA, arXiv:2402.09353). A third slower."""
    plus_ratio: float = 1.0
    """Learning rate of the second matrix in parts of the first's (LoRA+, arXiv:2402.12354); 16 is
    usual, with smaller learning rates."""
    initialization: Literal["zero", "pissa", "eva"] = "zero"
    """How adapters begin: doing nothing; as the base's largest singular vectors (PiSSA,
    arXiv:2404.02948); or as those of what flows through the layers (EVA, arXiv:2410.07170)."""
    quantize: Literal["none", "4bit"] = "none"
    """Hold the base in 4 bits while training (QLoRA, arXiv:2305.14314). Needs a GPU."""
    learning_rates: tuple[float, ...] = (5e-4, 2e-3, 6e-3)

    def __post_init__(self) -> None:
        TrainedTechnique.__post_init__(self)
        layers.refuse_none(self.name, self.upper_layers)
        for where, rank in {"rank": self.rank, **self.ranks}.items():
            if rank < 1:
                raise SettingError(
                    f"{self.name}: {where} is {rank}; it must be 1 or more (8 to 64 is usual)"
                )
        if not 0 < self.alpha < float("inf"):
            raise SettingError(
                f"{self.name}: alpha is {self.alpha}; it must be above 0 (the rank or twice it is "
                "usual)"
            )
        if not 0 <= self.dropout < 1:
            raise SettingError(
                f"{self.name}: dropout is {self.dropout}; it lies in [0, 1): give 0 for none (0.05 "
                "to 0.1 is usual)"
            )
        if not 0 < self.plus_ratio < float("inf"):
            raise SettingError(
                f"{self.name}: plus_ratio is {self.plus_ratio}; it must be above 0 (16 is usual)"
            )
        if self.upper_layers is not None and self.target_modules != "all-linear":
            raise SettingError(
                f"{self.name}: upper_layers and target_modules are both given. Give one: "
                "upper_layers adapts every linear layer of those layers."
            )
        self._refuse_broken_pattern()
        self._refuse_unknown_mixture()

    def _refuse_broken_pattern(self) -> None:
        try:
            re.compile(self.target_modules if isinstance(self.target_modules, str) else "")
        except re.error as error:
            raise SettingError(
                f"{self.name}: target_modules is {self.target_modules!r}, which is no regular "
                f"expression ({error}). Mend it, or list how the layers' names end."
            ) from error

    def _refuse_unknown_mixture(self) -> None:
        if self.initialization == "pissa" and (self.dora or self.ranks or self.rank_stabilized):
            raise SettingError(
                f"{self.name}: initialization is 'pissa', which is kept as a plain adapter and so "
                "goes with none of dora, ranks and rank_stabilized. Leave those out, or it."
            )
        if self.quantize != "none" and self.sharding != "none":
            raise SettingError(
                f"{self.name}: quantize and sharding are both given; weights in 4 bits are not "
                "divided among processes. Leave one of the two out."
            )
        if self.quantize != "none" and self.initialization != "zero":
            raise SettingError(
                f"{self.name}: initialization is {self.initialization!r}, which changes or reads "
                "weights that quantize has rounded. Leave one of the two out."
            )

    def trainable(self, shape: Outline) -> int:
        """How many values will be trained on a base of that shape."""
        total = 0
        for name, width in self._chosen(shape):
            total += self._rank_of(name) * width
        part = 1.0 if self.upper_layers is None else min(1, self.upper_layers / shape.layers)
        return round(total * part)

    def _rank_of(self, layer: str) -> int:
        """Of several ends of its name that are listed, the longest counts."""
        named = [end for end in self.ranks if layers.ends_with(layer, end)]
        return self.ranks[max(named, key=len)] if named else self.rank

    def _ranks(self, network: Any) -> dict[str, int]:
        """PEFT takes the first name that fits, and reads them in another order than they were
        written in: where one is the end of another, its layers are named whole."""
        ends = [
            end
            for end in self.ranks
            for other in self.ranks
            if other != end and layers.ends_with(other, end)
        ]
        named = {end: rank for end, rank in self.ranks.items() if end not in ends}
        for layer, _ in network.named_modules():
            if any(layers.ends_with(layer, end) for end in ends):
                named[layer] = self._rank_of(layer)
        return named

    def _chosen(self, shape: Outline) -> list[tuple[str, int]]:
        targets = self.target_modules
        if targets == "all-linear":
            return list(shape.linears)
        ends = (targets,) if isinstance(targets, str) else targets
        return [(name, width) for name, width in shape.linears if name.endswith(ends)]

    def refuse(self, base: ModelCard) -> None:
        """TrainingError where this machine cannot train so, or the base has no such layers."""
        if self.quantize != "none" and local.device().type != "cuda":
            raise TrainingError(
                f"{self.name}: quantize is {self.quantize!r}, which needs an NVIDIA GPU: this "
                "machine has none, and on a CPU 4-bit weights save no memory that bfloat16 "
                "adapters need. Leave quantize out, or choose a smaller base."
            )
        if (network := empty_alike(base, to_change=True)) is not None:
            plain = replace(self, initialization="zero")
            made = weights.adapted(self.name, network, plain.configured(network))
            self._refuse_unfit(made)

    def _refuse_unfit(self, made: weights.Prepared) -> None:
        """By what was adapted, without the weights of it."""
        self._refuse_unmatched(made.parameters)
        if self.initialization != "zero":
            what = f"{self.name}: initialization {self.initialization!r}"
            refuse_adapted(what, made.model, f"{LAYERS_ONLY}, or leave initialization out.")
        if self.initialization == "eva":
            refuse_narrow(made.model, self._widest())
        if self.initialization == "pissa":
            pissa.refuse_wide(made.model, self.rank)

    def _widest(self) -> int:
        return max(self.rank, *self.ranks.values(), 1)

    def fit(
        self, base: ModelCard, data: TrainingData, directory: Path,
        course: Course | None = None,
    ) -> Customization:  # fmt: skip
        """Train the adapters; raises TrainingError where the base has no layer to adapt."""
        self.refuse(base)

        def prepare(network: Any) -> weights.Prepared:
            prepared = weights.adapted(self.name, network, self.configured(network))
            self._refuse_unfit(prepared)
            if self.initialization == "pissa":
                prepared = pissa.kept_as_plain(prepared, directory)
            elif self.initialization == "eva":
                told = with_instruction(data, self.system)
                begin_with_activations(prepared.model, base, told.train, self._widest())
                prepared = weights.prepared(network, prepared.model)
            if self.dora:
                give_directions(prepared.model)
            second = {n: self.plus_ratio for n in prepared.parameters if ".lora_B." in n}
            return replace(prepared, rates=second if self.plus_ratio != 1 else {})

        return fit_weights(
            self,
            base,
            data,
            directory,
            prepare,
            frozen=True,
            quantized=self.quantize == "4bit",
            course=course,
        )

    def _refuse_unmatched(self, adapted: Iterable[str]) -> None:
        modules = {name.partition(".lora_")[0] for name in adapted}
        for end in self.ranks:
            if not any(layers.ends_with(module, end) for module in modules):
                known = sorted({module.rpartition(".")[2] for module in modules})
                raise TrainingError(
                    f"{self.name}: ranks names {end!r}, and no adapted layer ends so. Known: "
                    f"{', '.join(known)}."
                )

    def configured(self, network: Any) -> Any:
        """PEFT's configuration of the adapters on that network."""
        chosen: Any = self.target_modules
        if chosen != "all-linear" and isinstance(chosen, str) and re.fullmatch(r"[\w.]*", chosen):
            chosen = (chosen,)
        if isinstance(chosen, tuple):
            layers.refuse_unknown(network, chosen, f"{self.name}: target_modules")
        if self.upper_layers is not None:
            among = layers.upper(network, self.upper_layers, self.name)
            chosen = layers.linear_layers(among)
        left = layers.not_to_adapt(network)
        with weights.peft_errors(self.name):
            import peft

            begin: Any = {"zero": True, "pissa": "pissa", "eva": "eva"}[self.initialization]
            config = peft.LoraConfig(
                r=self.rank,
                lora_alpha=self.alpha,
                lora_dropout=self.dropout,
                target_modules=chosen if isinstance(chosen, str) else list(chosen),
                exclude_modules=left or None,
                rank_pattern=self._ranks(network),
                use_rslora=self.rank_stabilized,
                use_dora=self.dora,
                init_lora_weights=begin,
                eva_config=peft.EvaConfig() if begin == "eva" else None,
                task_type="CAUSAL_LM",
            )
            return beside_experts(network, config)

    def load(self, customization: Customization) -> LanguageModel:
        """The base with the adapters folded in."""
        return weights.folded(self.name, customization, self.system)
