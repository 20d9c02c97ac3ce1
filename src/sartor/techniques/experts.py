"""Experts of a mixture that are kept as one tensor, and the adapters that PEFT puts on them.

Such a tensor is no layer: an adapter lies around the module that holds it, with the thin matrices
of all experts in one, so what is written for an adapter of a layer does not hold for it. Layers
beside the experts (shared experts, the first blocks' dense ones) go by the experts' names: PEFT
takes them for experts and passes over them, unless their weights are named one by one.
"""

from __future__ import annotations

import copy
from typing import Any

from sartor.errors import TrainingError
from sartor.techniques import layers

LAYERS_ONLY = 'Adapt layers only, such as `target_modules = ["q_proj", "v_proj"]`'
"""What to do where experts cannot be adapted."""


def adapted_experts(model: Any) -> list[str]:
    """Names of the modules inside PEFT's model whose tensors have adapters, experts first: a router
    that is no layer has one of that kind too."""
    from peft.tuners.lora.layer import ParamWrapper

    wrapped = [(n, m) for n, m in model.named_modules() if isinstance(m, ParamWrapper)]
    found = [(m.num_experts, n) for n, m in wrapped if not layers.is_linear(m.base_layer)]
    named = (n for _, n in sorted(found, key=lambda one: -one[0]))
    return list(dict.fromkeys(module_of(n.removeprefix("base_model.model.")) for n in named))


def beside_experts(network: Any, config: Any) -> Any:
    """PEFT's configuration, with those layers it names that PEFT would pass over by their weights.

    A target with a dot, such as `shared_experts.up_proj`, names them alone and not the experts.
    """
    passed = _passed_over(network, config)
    if not passed:
        return config
    named = copy.copy(config)
    named.target_parameters = [f"{name}.weight" for name in passed]
    of_weights = {rf"{end}\.weight": rank for end, rank in config.rank_pattern.items()}
    named.rank_pattern = config.rank_pattern | of_weights
    if not isinstance(config.target_modules, str):
        named.target_modules = {
            target for target in config.target_modules
            if "." not in target or not any(layers.ends_with(name, target) for name in passed)
        }  # fmt: skip
    return named


def _passed_over(network: Any, config: Any) -> list[str]:
    """Names of linear layers that the configuration names, and that PEFT takes for experts."""
    from peft.tuners.tuners_utils import check_target_module_exists as names
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    read, asked = copy.deepcopy(config), copy.copy(config)
    read.target_modules = "all-linear"
    convert_peft_config_for_transformers(read, network, None)
    if read.target_modules == "all-linear":
        return []
    linear = layers.linear_layers(layers.blocks(network))
    if asked.target_modules == "all-linear":
        asked.target_modules = set(linear)
    passed = [name for name in linear if names(asked, name) and not names(read, name)]
    return [name for name in passed if network.get_submodule(name).weight.is_floating_point()]


def as_layers(model: Any) -> None:
    """Have PEFT's model adapt linear layers as such, where their weights were named.

    PEFT adds the product of the thin matrices to a weight that is named, and so needs the whole
    weight's gradient. What is kept is the same for both.
    """
    from peft.tuners.lora.layer import Linear, ParamWrapper

    for name, module in list(model.named_modules()):
        if isinstance(module, ParamWrapper) and layers.is_linear(module.base_layer):
            [(adapter, rank)] = module.r.items()
            config = model.peft_config[adapter]
            layer = Linear(module.base_layer, adapter, config, rank, module.lora_alpha[adapter])
            layer.lora_A, layer.lora_B = module.lora_A, module.lora_B
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, layer)


def module_of(name: str) -> str:
    """The base's module that an adapter is on: PEFT stacks one adapter for each of its tensors."""
    while name.endswith(".base_layer"):
        name = name.removesuffix(".base_layer")
    return name


def refuse_adapted(what: str, model: Any, instead: str) -> None:
    """TrainingError where experts inside PEFT's model have adapters, or layers by their weights."""
    if found := adapted_experts(model):
        raise TrainingError(
            f"{what}: {found[0]} holds all its experts as one tensor, for whose adapters this is "
            f"not known. {instead}"
        )
    if named := sorted(model.peft_config["default"].target_parameters or ()):
        raise TrainingError(
            f"{what}: {named[0].removesuffix('.weight')} goes by the name of experts, for whose "
            f"adapters this is not known. {instead}"
        )
