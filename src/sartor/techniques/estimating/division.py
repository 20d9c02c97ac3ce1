"""Training divided among processes: how many there are, and what one of them is left with.

As training itself decides it (training/processes.py): by what launched the processes. What will be
launched later, or elsewhere, is told by `meant`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from sartor.errors import SettingError
from sartor.models import local
from sartor.training.pack_size import side_by_side, together
from sartor.training.processes import dealt, launched

DRAWN = 200
"""Batches that are drawn to see how evenly they are divided."""


@dataclass(frozen=True, slots=True)
class Division:
    """Processes that train together."""

    processes: int = 1
    sharded: bool = False
    """Whether each holds a part of the weights, not all (training/sharding.py)."""
    on_cpu: bool = False
    """Whether they train in the machine's memory, where the base is read and the state gathered."""

    @property
    def others(self) -> float:
        """The part of what all hold that one has to get from others."""
        return (self.processes - 1) / self.processes


ALONE = Division()


@dataclass(frozen=True, slots=True)
class _Meant:
    processes: int
    on_gpus: bool


_meant: ContextVar[_Meant | None] = ContextVar("meant", default=None)


@contextmanager
def meant(processes: int | None, *, on_gpus: bool = False) -> Iterator[None]:
    """Inside the block estimates are of so many processes, on GPUs elsewhere or on this machine;
    None: as this process was launched. SettingError for none."""
    if processes is not None and processes < 1:
        raise SettingError(f"processes is {processes}; give 1 or more.")
    token = _meant.set(None if processes is None else _Meant(processes, on_gpus))
    try:
        yield
    finally:
        _meant.reset(token)


def processes() -> int:
    """How many train together."""
    told = _meant.get()
    return launched()[1] if told is None else told.processes


def here() -> int:
    """How many of them are on this machine."""
    told = _meant.get()
    if told is not None:
        return told.processes
    return int(os.environ.get("LOCAL_WORLD_SIZE") or launched()[1])


def on_gpu() -> bool:
    """Whether it trains on a GPU, here or elsewhere."""
    told = _meant.get()
    return (told is not None and told.on_gpus) or local.device().type == "cuda"


def at_once(pack: int, width: int, examples: int, *, divided: bool) -> int:
    """Tokens that go through a model of this width together, where `pack` may and a step has so
    many examples: on a CPU, where that can be `divided`, by several threads side by side. torchrun
    gives the processes that it will start one thread each."""
    if on_gpu():
        return pack
    import torch

    told = _meant.get()
    several = divided and (told is None or told.processes == 1)
    count = side_by_side(torch.get_num_threads() if several else 1, pack, examples)
    return count * together(pack // count, width)


def division_of(options: Any) -> Division:
    """How a technique with these settings is divided."""
    count = processes()
    return ALONE if count == 1 else Division(count, options.sharding == "full", not on_gpu())


@dataclass(frozen=True, slots=True)
class Share:
    """Of a batch, what the process with the most of it has."""

    part: float
    """Of the tokens; the mean."""
    tokens: float
    """At most, but for one batch in twenty."""


def share(sizes: Sequence[int], batch: int, processes: int) -> Share:
    """What `Team.share` leaves of batches of such examples, drawn anew."""
    drawn, parts, most = random.Random(0), list[float](), list[float]()
    for _ in range(DRAWN):
        several = drawn.choices(sizes, k=batch)
        each = [0] * processes
        for size, rank in zip(several, dealt(several, processes), strict=True):
            each[rank] += size
        largest = max(each)
        parts.append(largest / sum(several))
        most.append(largest)
    return Share(fmean(parts), min(max(most), fmean(most) + 2 * pstdev(most)))
