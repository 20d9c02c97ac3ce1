"""How long was spent on a folder: by all sittings together, those that were killed included."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path

from sartor.data.files import write_text
from sartor.errors import DataError

TICK = 5.0
"""Seconds between notes of the time; a killed sitting loses no more."""


class Clock:
    """Runs inside its block, on from where the last sitting left it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "seconds"
        self.before = float(self.path.read_text()) if self.path.is_file() else 0.0
        self.began = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Clock:
        self.began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        self._done.set()
        self._thread.join()
        with suppress(DataError) if failed else nullcontext():  # what failed is what is told
            write_text(self.path, str(self.total))

    def _tick(self) -> None:
        while not self._done.wait(TICK):
            with suppress(DataError):  # a full disk is told where weights are written
                write_text(self.path, str(self.total))

    @property
    def total(self) -> float:
        """Seconds."""
        return self.before + time.perf_counter() - self.began
