"""What some work takes: seconds that are its own, and bytes, tensors apart from the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sartor.models import local
from sartor.models.memory import PeakMemory
from sartor.progress import Task

SAMPLED = 0.01
"""Seconds between looks at the process's memory."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What some work gave, and the bytes that it took."""

    made: Any
    tensors: float
    set_aside: float


def counting(work: Callable[[], Any], before: int) -> Counted:
    """`before`: what the process held before what the work uses was there."""
    with PeakMemory(SAMPLED) as memory:
        if local.device().type == "cuda":
            made, tensors = work(), 0
        else:
            from sartor.techniques.estimating.allocated import Allocated

            with Allocated() as counted:
                made = work()
            tensors = counted.peak
    if local.device().type == "cuda":
        import torch

        tensors = torch.cuda.max_memory_allocated()
    return Counted(made, tensors, max(0.0, memory.peak - before - tensors))


class Stopwatch:
    """A reporter that shows nothing, and notes how long each step of a task took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = 0.0

    def start(self, what: str, total: float, unit: str, done: float) -> Stopwatch:
        self._last = clock()
        return self

    def advance(self, amount: float = 1, note: str = "") -> None:
        now = clock()
        self.seconds.append(now - self._last)
        self._last = now

    def finish(self, task: Task) -> None:
        pass

    def say(self, message: str) -> None:
        pass


def _is_alone() -> bool:
    """Whether one thread does all the work, so that seconds of the processor are its own."""
    import torch

    return not torch.cuda.is_available() and torch.get_num_threads() == 1


def clock() -> float:
    """Seconds; of the processor where that is known, so that other programs do not count."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.process_time() if _is_alone() else time.perf_counter()
