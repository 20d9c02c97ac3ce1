"""A customized model that is loaded when it is first asked, and the memory that asking took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sartor.customized import located
from sartor.data.files import read_json, write_json
from sartor.data.records import Conversation
from sartor.models.language_model import Completion, LanguageModel, Sampling
from sartor.models.memory import PeakMemory
from sartor.techniques.technique import Customization, Technique


class Later:
    """A customized model that is loaded when it is first asked: kept answers need no weights."""

    def __init__(self, technique: Technique, made: Customization, project: Path) -> None:
        self._technique = technique
        self._made = located(made, project)

    @cached_property
    def model(self) -> LanguageModel:
        return self._technique.load(self._made)

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        return self.model.generate(conversations, sampling)


@dataclass(frozen=True, slots=True)
class _Answering:
    """measured.json."""

    peak_memory: int


class Memory:
    """The most memory that answering took, over all sittings."""

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
        if "model" in vars(self.model):
            self.peak = max(self.peak, self._watch.peak)
            write_json(self.path, _Answering(self.peak))
