"""The most memory this process held while something ran."""

from __future__ import annotations

import threading
from types import TracebackType


class PeakMemory:
    """Samples the resident set of this process (and the GPU's peak) inside a `with` block; bytes."""

    def __init__(self, interval: float = 0.05) -> None:
        self.interval = interval
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._done.wait(self.interval):
            self._sample()

    def _sample(self) -> None:
        import psutil

        self.peak = max(self.peak, psutil.Process().memory_info().rss)
