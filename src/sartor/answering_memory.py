"""The most memory that asking a customized model took, over all sittings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.data.files import read_json, write_json
from sartor.models.memory import PeakMemory
from sartor.techniques.asked import Later


@dataclass(frozen=True, slots=True)
class _Answering:
    """measured.json."""

    peak_memory: int


class Memory:
    """Watches while it is entered; a model that was not loaded meanwhile took none."""

    def __init__(self, path: Path, model: Later) -> None:
        self.path = path
        self.model = model
        self.peak = 0
        self._watch = PeakMemory()

    def __enter__(self) -> Memory:
        self._watch.__enter__()
        if self.path.is_file():
            self.peak = read_json(self.path, _Answering).peak_memory
        else:
            _ = self.model.model  # a sitting that was killed left no figure: measure at least this
        return self

    def __exit__(self, *failure: Any) -> None:
        self._watch.__exit__(*failure)
        if self.model.is_loaded:
            self.peak = max(self.peak, self._watch.peak)
            write_json(self.path, _Answering(self.peak))
