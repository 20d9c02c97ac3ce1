"""Experts of a mixture that are kept as one tensor, and the adapters that PEFT puts on them.

Such a tensor is no layer: an adapter lies around the module that holds it, with the thin matrices
of all experts in one, so what is written for an adapter of a layer does not hold for it.
"""

from __future__ import annotations

from typing import Any

from sartor.errors import TrainingError

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


def refuse_adapted(what: str, model: Any, instead: str) -> None:
    """TrainingError where experts inside PEFT's model have adapters."""
    if found := adapted_experts(model):
        raise TrainingError(
            f"{what}: {found[0]} holds all its experts as one tensor, for whose adapters this is "
            f"not known. {instead}"
        )
