"""The memory of training by arithmetic, as its settings change; shared by what chooses settings
(chosen.py) and by what proposes them (nearest.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sartor.models.devices import Limit
from sartor.models.devices import limit as machine_limit
from sartor.models.outline import Outline
from sartor.techniques.estimating.arithmetic import host_bytes, peak_bytes
from sartor.techniques.estimating.division import here
from sartor.techniques.estimating.workload import Workload
from sartor.training.settings import TrainingSettings

LEAST = 256
"""Tokens; smaller packs save little and are slow."""


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes by arithmetic, on each device."""

    shape: Outline
    parameters: float
    new_tokens: int

    def __call__(self, core: Any, work: Workload) -> float:
        return peak_bytes(
            work, self.shape, self.parameters, self.new_tokens, quantized=is_quantized(core)
        )

    def fits(self, core: Any, work: Workload, limit: Limit, beside: float = 0.0) -> bool:
        """Whether there is room on the device, with `beside` bytes more, and in the machine's
        memory."""
        if beside + self(core, work) > limit.bytes:
            return False
        return host_bytes(work, self.shape, self.parameters) <= limit.host


def host_refusal(work: Workload, shape: Outline, parameters: float, limit: Limit) -> str:
    """Why what is kept in the machine's memory beside a GPU's is too much for it; empty where it is
    not."""
    if (kept := host_bytes(work, shape, parameters)) <= limit.host:
        return ""
    return (
        f"it keeps about {kept / 1e9:.3g} GB in the machine's memory beside the GPU's, which has "
        f"{limit.host / 1e9:.3g} GB for each process. Leave `checkpointing` and "
        '`optimizer_on_host` at "auto", or train fewer weights, as LoRA does.'
    )


def is_quantized(core: Any) -> bool:
    """Whether it holds the base in 4 bits."""
    return getattr(core, "quantize", "none") == "4bit"


def smaller_packs(core: Any, work: Workload) -> Iterator[int]:
    """Smaller packs than what goes through at once now, as long as that makes it fewer."""
    longest = work.longest_prompt + round(work.answer_tokens)
    pack = work.tokens_at_once
    while pack > max(LEAST, longest):
        pack = max(LEAST, longest, pack // 2)
        if settled_work(replace(core, pack_tokens=pack), work).tokens_at_once < work.tokens_at_once:
            yield pack


def settled_work(core: TrainingSettings, work: Workload) -> Workload:
    """The work as `core` does it: in its packs, which are no larger than those that were counted,
    and with blocks run again and the optimizer's state elsewhere where it says so."""
    virtual = int(getattr(core, "virtual_tokens", 0))
    longest = work.longest_prompt + round(work.answer_tokens)
    at_once = max(longest, min(work.tokens_at_once, core.pack_size + virtual))
    again = work.runs_blocks_again or core.checkpointing in {"on", "offload"}
    return replace(
        work,
        tokens_at_once=at_once,
        runs_blocks_again=again,
        inputs_on_host=work.inputs_on_host or core.checkpointing == "offload",
        state_on_host=work.state_on_host or core.optimizer_on_host == "on",
    )


def limit_of(work: Workload) -> Limit:
    """What one of the processes that do this work may take of this machine."""
    division = work.division
    return machine_limit(here() if division.processes > 1 else 1)
