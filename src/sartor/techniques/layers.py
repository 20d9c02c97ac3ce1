"""Which layers of a network a technique takes: found by looking at the network, not by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sartor.errors import SettingError, TrainingError
from sartor.training.blocks import blocks

__all__ = [
    "blocks",
    "ia3_layers",
    "is_linear",
    "linear_layers",
    "not_to_adapt",
    "refuse_none",
    "refuse_unknown",
    "upper",
]

KEYS_AND_VALUES = {
    "k_proj", "v_proj", "key", "value", "kv_b_proj", "c_attn", "qkv_proj", "query_key_value",
    "Wqkv",
}  # fmt: skip
"""What architectures call the layers that make keys and values, alone or with the queries."""
FEED_FORWARD = {"down_proj", "c_proj", "fc2", "fc_out", "dense_4h_to_h", "w2"}
"""What they call the last layer of a feed-forward block."""

EXPERTS = frozenset({"gate", "w1", "w2", "w3", "gate_proj", "up_proj", "down_proj"})
"""What experts and routers are called by PEFT where they are kept as one tensor."""
READ = "out_proj"
READ_BY_KERNELS = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
"""A layer whose weight kernels for state spaces read without calling it, and networks with such
(PEFT, `_check_lora_target_modules_mamba`)."""


def upper(network: Any, count: int, what: str) -> list[tuple[str, Any]]:
    """The uppermost blocks; TrainingError where there are fewer."""
    found = blocks(network)
    if count > len(found):
        raise TrainingError(
            f"{what}: upper_layers is {count}, but the base has {len(found)} layers. Give at most "
            "so many, or leave it out."
        )
    return found[-count:]


def refuse_none(what: str, count: int | None) -> None:
    """SettingError where `upper_layers` leaves nothing to train."""
    if count is not None and count < 1:
        raise SettingError(
            f"{what}: upper_layers is {count}; it must be 1 or more. Leave it out for all layers."
        )


def ends_with(name: str, end: str) -> bool:
    """Whether whole parts of a layer's name are that end, as PEFT has it."""
    return name == end or name.endswith(f".{end}")


def refuse_unknown(network: Any, ends: Sequence[str], what: str) -> None:
    """TrainingError for the end of a name that nothing in the network has: PEFT passes over it.
    What is in experts kept as one tensor goes by the names that it had as layers."""
    names = {n for n, _ in (*network.named_modules(), *network.named_parameters())}
    stacked = any(parameter.dim() == 3 for parameter in network.parameters())
    known = sorted({name.rpartition(".")[2] for name, _ in _linear(network)})
    if not ends:
        raise TrainingError(f"{what} is empty, so nothing would be trained. Give some of: {known}.")
    for end in ends:
        found = bool(end) and any(ends_with(name, end) for name in names)
        if not found and not (stacked and end in EXPERTS):
            raise TrainingError(
                f"{what} names {end!r}, and no layer of a {type(network).__name__} ends so. Known: "
                f"{', '.join(known)}."
            )


def linear_layers(among: list[tuple[str, Any]]) -> list[str]:
    """Full names of the linear layers in these blocks."""
    return [f"{block}.{name}" for block, module in among for name, _ in _linear(module)]


def ia3_layers(network: Any) -> tuple[list[str], list[str]]:
    """Full names of what makes keys and values, and of what ends each feed-forward block.

    Raises TrainingError where none of either can be told. Experts of a mixture that are kept as one
    tensor are no layers: they stay as they are.
    """
    attention, feed_forward = [], []
    for block, module in blocks(network):
        for name, _ in _linear(module):
            *within, last = name.split(".")
            attends = any("attn" in part or "attention" in part for part in within)
            if attends and last in KEYS_AND_VALUES:
                attention.append(f"{block}.{name}")
            elif not attends and last in FEED_FORWARD:
                feed_forward.append(f"{block}.{name}")
    if not attention:
        raise TrainingError(
            f"ia3: no layer of a {type(network).__name__} is known to make keys and values "
            f"(looked for {', '.join(sorted(KEYS_AND_VALUES))}). Use lora, or another base."
        )
    return attention, feed_forward


def not_to_adapt(network: Any) -> list[str]:
    """Full names of linear layers that no adapter goes with."""
    kernels = network.config.model_type in READ_BY_KERNELS
    read = [n for n, _ in _linear(network) if kernels and n.endswith(f".{READ}")]
    return [*read, *_answering_more(network)]


def _answering_more(network: Any) -> list[str]:
    """Layers that give more than one tensor, such as some mixtures' routers: nothing can be added
    to what they give. Tried on a few tokens where a layer has its own ways; without weights none
    is told."""
    import torch

    if network.device.type == "meta":
        return []
    own = [(n, m) for n, m in _linear(network) if _has_its_own_ways(m)]
    found: list[str] = []

    def see(name: str) -> Any:
        return lambda _module, _given, made: (
            None if isinstance(made, torch.Tensor) else found.append(name)
        )

    hooks = [module.register_forward_hook(see(name)) for name, module in own]
    try:
        if own:
            with torch.no_grad():
                ids = torch.tensor([[5, 3, 4]], device=network.device)
                network(input_ids=ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(found))


def _has_its_own_ways(module: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return type(module).forward not in (torch.nn.Linear.forward, Conv1D.forward)


def _linear(module: Any) -> list[tuple[str, Any]]:
    return [(n, m) for n, m in module.named_modules() if is_linear(m)]


def is_linear(module: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (torch.nn.Linear, Conv1D))
