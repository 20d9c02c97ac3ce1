"""Weights divided among processes: each holds a part of every tensor, and a block's whole weights
only while that block runs.

By torch's `fully_shard` (Zhao et al. 2023, arXiv:2304.11277), which is ZeRO's third stage
(Rajbhandari et al. 2020, arXiv:1910.02054). What is trained beside a frozen base, such as adapters,
is small: every process holds it whole. All processes must run the network equally often, which
room.py sees to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sartor.models import local
from sartor.training.blocks import blocks
from sartor.training.processes import Team, team

if TYPE_CHECKING:
    import torch

    from sartor.training.trainable import Trainable

T = TypeVar("T")
RUN = "_sartor_run"
"""Method of a network that brings the weights together which are in no block."""


def shard(trainable: Trainable, *, on_host: bool = False) -> None:
    """Divide the network's weights among the team; what is trained of them is divided too, and kept
    in the machine's memory where it is to be `on_host`."""
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        CPUOffloadPolicy,
        FSDPModule,
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    network, trained, place = trainable.network, trainable.parameters, local.device()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    beside = set(trained.values()) if trainable.frozen else set()
    for parameter in beside:
        parameter.data = parameter.data.to(place)
    # Autocast would keep a copy of every weight for the way back: the whole weights again.
    halved = trainable.mixed_precision and not trainable.frozen
    precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if halved else None
    given: dict[str, Any] = {
        "mesh": init_device_mesh(place.type, (team().size,)),
        "ignored_params": beside,
        "mp_policy": precision or MixedPrecisionPolicy(),
    }
    if on_host and not trainable.frozen:
        given["offload_policy"] = CPUOffloadPolicy(pin_memory=place.type == "cuda")
    for _, block in blocks(network):
        fully_shard(block, **given)
    fully_shard(network, **given)
    for module in network.modules():
        if isinstance(module, FSDPModule):  # gradients are summed, not averaged
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    setattr(network, RUN, lambda work: work())
    register_fsdp_forward_method(network, RUN)
    now = dict(network.named_parameters())
    for name, parameter in trained.items():  # in place: who holds the old ones holds all weights
        if parameter not in beside:
            trained[name] = now[names[id(parameter)]]


def is_sharded(network: Any) -> bool:
    """Whether the network's weights are divided."""
    return hasattr(network, RUN)


def run(network: Any, work: Callable[[], T]) -> T:
    """Do what runs the network, and its head by itself, with the weights that takes."""
    import torch

    if not is_sharded(network):
        return work()
    made: T = getattr(network, RUN)(work)
    if not torch.is_grad_enabled():
        end(network)
    return made


def end(network: Any) -> None:
    """After a run whose way back is not gone: take the weights apart again."""
    if is_sharded(network):
        network.reset_iter_state()


def is_part(tensor: torch.Tensor) -> bool:
    """Whether each process holds a part of it."""
    return hasattr(tensor, "full_tensor")


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The whole tensor for the leader, empty for the others; all of the team must ask."""
    if not is_part(tensor):
        return tensor
    whole: torch.Tensor = tensor.full_tensor()  # type: ignore[attr-defined]
    return whole.cpu() if team().leads else whole.new_empty(0)


def put(whole: torch.Tensor | None, into: Any, members: Team) -> None:
    """Give every process the leader's `whole` tensor, or its part of it where `into` is one."""
    import torch
    from torch.distributed.tensor import distribute_tensor

    with torch.no_grad():
        if not is_part(into):
            if whole is not None:
                into.copy_(whole)
            members.spread(into)
            return
        told = torch.empty(into.shape, dtype=into.dtype) if whole is None else whole
        parts = distribute_tensor(told.to(into.device), into.device_mesh, into.placements)
        into.to_local().copy_(parts.to_local())


def bring_together(network: Any) -> None:
    """Put whole weights back into the leader's network, on the CPU, to be written; it runs no more.

    All of the team must ask.
    """
    import torch

    found: dict[int, torch.nn.Parameter] = {}
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or not is_part(parameter):
                continue
            if id(parameter) not in found:  # tied ones stay tied
                found[id(parameter)] = torch.nn.Parameter(gathered(parameter.detach()))
            module._parameters[name] = found[id(parameter)]
    for module in network.modules():
        if type(module).__name__.startswith("FSDP"):
            module.__class__ = type(module).__mro__[2]  # what it was before, as torch has it
