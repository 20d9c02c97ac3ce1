"""The memory that this process holds, the most it held, and what it hands back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
from types import TracebackType
from typing import Any

OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory")
"""What torch says on a CPU, the operating system, and CUDA."""
NO_ROOM_FOR_CODE = "could not create a primitive"
"""All that oneDNN says where there is no memory for the code of a product; more follows where it
has no such product."""


LARGE = 2 << 20
"""Bytes of a tensor for which torch asks for huge pages (its `gAlloc_threshold_thp`)."""
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""The names of two settings of glibc's `mallopt` (malloc.h)."""
SPARE = 64 << 20
"""Free bytes at the end of the heap that are kept for what comes next."""


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
    said = str(error).lower()
    return said == NO_ROOM_FOR_CODE or any(words in said for words in OUT_OF_MEMORY)


def give_back() -> None:
    """Let go of what earlier work no longer needs, so that the peak is not that work's."""
    gc.collect()
    trim()
    if gpu := _gpu():
        gpu.empty_cache()


def trim() -> None:
    """Hand free memory back to the system, also where it lies between what is in use."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library that has no such call
            ctypes.CDLL(None).malloc_trim(0)


def keep_large_apart() -> None:
    """Have large tensors lie outside of the heap, and be handed back when they are dropped.

    glibc up to 2.37 does not lay an aligned block where one of the same size was dropped, so a
    network's tensors leave the heap full of holes (sourceware.org, bug 14581).
    """
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):  # a C library that has no such call
            settle = ctypes.CDLL(None).mallopt
            settle(MMAP_THRESHOLD, LARGE)
            settle(TRIM_THRESHOLD, SPARE)


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _gpu() -> Any:
    """`torch.cuda`, once it is in use; this file loads no torch."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
