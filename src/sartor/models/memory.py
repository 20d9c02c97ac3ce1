"""The most memory this process held while something ran."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading
from types import TracebackType
from typing import Any

OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory")
"""What torch says on a CPU, the operating system, and CUDA."""


class PeakMemory:
    """Samples the memory of this process inside a `with` block, and adds the GPU's peak; bytes."""

    def __init__(self, interval: float = 0.05) -> None:
        self.interval = interval
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        give_back()
        if gpu := _gpu():
            gpu.reset_peak_memory_stats()
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self._sample()
        if gpu := _gpu():
            self.peak += gpu.max_memory_allocated()

    def _watch(self) -> None:
        while not self._done.wait(self.interval):
            self._sample()

    def _sample(self) -> None:
        self.peak = max(self.peak, _resident())


def held() -> int:
    """Bytes that this process holds now, of the machine's memory and of the GPU's."""
    gpu = _gpu()
    return _resident() + (gpu.memory_allocated() if gpu else 0)


def ran_out(error: BaseException) -> bool:
    """Whether memory ran out, of a GPU or of the machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)


def give_back() -> None:
    """Let go of what earlier work no longer needs, so that the peak is not that work's."""
    gc.collect()
    trim()


def trim() -> None:
    """Hand free memory back to the system, also where it lies between what is in use."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library that has no such call
            ctypes.CDLL(None).malloc_trim(0)


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _gpu() -> Any:
    """`torch.cuda`, once it is in use; this file loads no torch."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
