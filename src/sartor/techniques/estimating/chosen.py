"""Settings that are left to us ("auto"), as memory needs them: what takes the least time first.

A step's batch in smaller packs, whose gradients are added up; then blocks that are run again on the
way back; then, on a GPU, what goes into these blocks and what the optimizer holds in the machine's
memory. By what arithmetic.py says a change takes away from an estimate, however that was made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sartor.models.devices import Limit
from sartor.models.language_model import ModelCard
from sartor.models.outline import Outline
from sartor.techniques.estimating.peaks import Peak, settled_work, smaller_packs
from sartor.techniques.estimating.workload import Workload
from sartor.techniques.wrapping import innermost
from sartor.training.settings import TrainingSettings

AGAIN = 4 / 3
"""Seconds of training with every block run again, in parts of those without: one forward pass more,
beside a forward and two backward ones."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Settings by which it fits."""

    core: Any
    """The technique that trains, with them."""
    peak: float
    """Bytes, on each device."""
    said: str
    """Such as "pack_tokens is 768"; empty where nothing had to be chosen."""
    slower: float = 1.0
    """Seconds of training, in parts of those without."""


def chosen(
    technique: Any, work: Workload, card: ModelCard, shape: Outline, peak: float, limit: Limit,
    new_tokens: int,
) -> Chosen | None:  # fmt: skip
    """What makes it fit among what is left to us, where `peak` bytes are needed without; None where
    nothing does."""
    core = innermost(technique)
    if peak <= limit.bytes:
        return Chosen(core, peak, "")
    if work.trains == "nothing" or not isinstance(core, TrainingSettings):
        return None
    of = Peak(shape, card.parameters, new_tokens)
    beside = peak - of(core, work)
    for told in _left_to_us(core, work, on_gpu=limit.of_gpu):
        other = replace(core, **told)
        after = settled_work(other, work)
        if of.fits(other, after, limit, beside):
            again = "checkpointing" in told and not work.runs_blocks_again
            slower = AGAIN if again else 1.0
            return Chosen(other, beside + of(other, after), _said(told), slower)
    return None


def _left_to_us(
    core: TrainingSettings, work: Workload, *, on_gpu: bool
) -> Iterator[dict[str, Any]]:
    packs: list[dict[str, Any]] = [{}]
    if core.pack_tokens == "auto":
        packs += [{"pack_tokens": pack} for pack in smaller_packs(core, work)]
    ways: list[dict[str, Any]] = [{}]
    if core.checkpointing == "auto":
        ways += [{"checkpointing": "on"}, *([{"checkpointing": "offload"}] if on_gpu else [])]
    if on_gpu and core.optimizer_on_host == "auto" and work.trains == "everything":
        ways += [{**way, "optimizer_on_host": "on"} for way in ways]
    yield from ({**way, **pack} for way in ways for pack in packs)


def _said(told: dict[str, Any]) -> str:
    return " and ".join(f"{name} is {json.dumps(value)}" for name, value in told.items())
