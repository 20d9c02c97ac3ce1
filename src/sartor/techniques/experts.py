"""Experts of a mixture that are kept as one tensor, and the adapters that PEFT puts on them.

Such a tensor is no layer: an adapter lies around the module that holds it, with the thin matrices
of all experts in one, so what is written for an adapter of a layer does not hold for it.
"""

from __future__ import annotations

from typing import Any

from sartor.errors import TrainingError
from sartor.models.language_model import ModelCard
from sartor.models.outline import configuration, empty_network
from sartor.techniques import weights

LAYERS_ONLY = 'Adapt layers only, such as `target_modules = ["q_proj", "v_proj"]`'
"""What to do where experts cannot be adapted."""


def adapted_experts(model: Any) -> list[str]:
    """Names of the modules inside PEFT's model whose tensors have adapters, experts first: a router
    that is no layer has one of that kind too."""
    from peft.tuners.lora.layer import ParamWrapper

    found = [(m.num_experts, n) for n, m in model.named_modules() if isinstance(m, ParamWrapper)]
    named = (n for _, n in sorted(found, key=lambda one: -one[0]))
    return list(dict.fromkeys(module_of(n.removeprefix("base_model.model.")) for n in named))


def module_of(name: str) -> str:
    """The base's module that an adapter is on: PEFT stacks one adapter for each of its tensors."""
    while name.endswith(".base_layer"):
        name = name.removesuffix(".base_layer")
    return name


def refuse_experts(what: str, config_of: Any, base: ModelCard) -> None:
    """TrainingError where adapters of that configuration, made by `config_of(network)`, would be on
    experts of the base; only its configuration is read."""
    network = empty_network(base, configuration(base))
    model = weights.adapted(what, network, config_of(network)).model
    if found := adapted_experts(model):
        raise TrainingError(
            f"{what}: {found[0]} holds all its experts as one tensor, whose adapters cannot be put "
            f"together. {LAYERS_ONLY} under [techniques.lora], or use another technique."
        )
