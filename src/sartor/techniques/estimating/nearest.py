"""What would fit where a technique does not: the nearest setting first, then the weights divided
among more GPUs, then another technique, then a smaller base of the same family.

By what arithmetic.py says a change takes away from an estimate, however that was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sartor.models.catalogue import FoundationModel, catalogue, catalogued
from sartor.models.devices import Limit
from sartor.models.language_model import ModelCard
from sartor.models.outline import Outline, of_shape
from sartor.techniques.estimating.division import Division
from sartor.techniques.estimating.peaks import Peak, is_quantized, settled_work, smaller_packs
from sartor.techniques.estimating.workload import Workload
from sartor.techniques.lora import LoRA
from sartor.techniques.wrapping import innermost
from sartor.training.settings import TrainingSettings

MORE = (2, 4, 8, 16)
"""Numbers of GPUs that are proposed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What could be set otherwise, and the work that it would be."""

    said: str
    core: Any
    """The technique that trains then."""
    work: Workload


def nearest(
    technique: Any, work: Workload, card: ModelCard, shape: Outline, peak: float, limit: Limit,
    new_tokens: int,
) -> str:  # fmt: skip
    """A sentence that names the least change by which it fits in the limit."""
    core = innermost(technique)
    of = Peak(shape, card.parameters, new_tokens)
    beside = peak - of(core, work)
    for change in changes(core, work, shape, limit):
        if of.fits(change.core, change.work, limit, beside):
            return change.said
    return f"Choose a smaller base{_smaller(core, card, work, beside, limit, new_tokens)}."


def changes(core: Any, work: Workload, shape: Outline, limit: Limit) -> Iterator[Change]:
    """The least first: smaller packs, blocks that are run again, the optimizer's state elsewhere,
    weights that are divided, LoRA in place of what trains all weights, and its weights in 4 bits.
    """
    name = getattr(core, "name", "")
    if work.trains == "nothing" or not isinstance(core, TrainingSettings):
        return
    under, small = f"under [techniques.{name}]", replace(core)
    for pack in smaller_packs(core, work):
        small = replace(core, pack_tokens=pack)
        told = f"It fits with `pack_tokens = {pack}` {under}."
        yield Change(told, small, settled_work(small, work))
    pack = small.pack_size
    again = replace(small, checkpointing="on")
    told = f"`pack_tokens = {pack}`"
    if not work.runs_blocks_again:
        told += ' and `checkpointing = "on"`'
        yield Change(
            f"It fits with {told} {under}, about a third slower.", again, settled_work(again, work)
        )
    if limit.of_gpu and work.trains == "everything" and not work.state_on_host:
        hosted = replace(again, optimizer_on_host="on")
        told = f'{told}, `optimizer_on_host = "on"`'
        yield Change(f"It fits with {told} {under}.", hosted, settled_work(hosted, work))
    yield from _divided(again, work, limit)
    yield from _adapters(core, pack, work, shape)


def _divided(core: Any, work: Workload, limit: Limit) -> Iterator[Change]:
    """With the weights divided, among these processes or among more GPUs. On a CPU all processes
    share one memory, and more of them need more of it."""
    now = work.division
    small = settled_work(core, work)
    told = 'It fits with `sharding = "full"`'
    where = f"under [techniques.{getattr(core, 'name', '')}]"
    how = f'`pack_tokens = {core.pack_size}` and `checkpointing = "on"` {where}'
    if now.processes > 1 and not now.sharded and not now.on_cpu:
        divided = replace(small, division=replace(now, sharded=True))
        yield Change(f"{told}, {how}.", core, divided)
    if not limit.of_gpu or is_quantized(core):
        return
    for count in (count for count in MORE if count > now.processes):
        divided = replace(small, division=Division(count, sharded=True))
        yield Change(
            f"It does not fit on {now.processes}; it fits on {count} GPUs like this "
            f"(`torchrun --nproc-per-node {count} -m sartor run`) with `sharding = \"full\"`, "
            f"{how}.",
            core, divided,
        )  # fmt: skip


def _adapters(core: Any, pack: int, work: Workload, shape: Outline) -> Iterator[Change]:
    """LoRA in place of what trains all weights, then with blocks run again, then in 4 bits."""
    lora, name = LoRA(pack_tokens=pack), getattr(core, "name", "")
    adapter = replace(
        settled_work(lora, work), trains="adapter", trainable_parameters=lora.trainable(shape)
    )
    told = f"`pack_tokens = {pack}`"
    where = f"It fits with 'lora' in place of {name!r}, and"
    if work.trains == "everything":
        yield Change(f"{where} {told} under [techniques.lora].", lora, adapter)
    if not work.runs_blocks_again:
        lora, adapter = replace(lora, checkpointing="on"), replace(adapter, runs_blocks_again=True)
        told += ' and `checkpointing = "on"`'
        if work.trains == "everything":
            yield Change(f"{where} {told} under [techniques.lora].", lora, adapter)
    if not is_quantized(core):
        yield Change(
            f"On a GPU it fits with 'lora', {told} and `quantize = \"4bit\"` under "
            "[techniques.lora].",
            replace(lora, quantize="4bit"), adapter,
        )  # fmt: skip


def _smaller(
    core: Any, card: ModelCard, work: Workload, beside: float, limit: Limit, new_tokens: int
) -> str:
    """The largest smaller base of the catalogue that would fit; its own family goes first."""
    listed = catalogued(card.name)

    def order(model: FoundationModel) -> tuple[bool, float]:
        return listed is None or model.family != listed.family, -model.parameters

    for model in sorted(catalogue(), key=order):
        if model.parameters >= card.parameters or model.shape is None:
            continue
        shape = of_shape(model.shape)
        part = work.trainable_parameters / card.parameters
        trained = round(part * model.parameters)
        if hasattr(core, "trainable"):
            trained = core.trainable(shape)
        other = replace(work, trainable_parameters=trained)
        if Peak(shape, model.parameters, new_tokens).fits(core, other, limit, beside):
            return f", such as {model.id}"
    return ""
