"""A technique that trains nothing and keeps what it was given, to look at what wraps it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.files import digest, read_rows, write_rows
from sartor.data.records import Conversation, Example, TrainingData
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.scripted import ScriptedModel
from sartor.settings import STRICT
from sartor.techniques.technique import Customization

CARD = ModelCard("scripted", "", "r1", "Scripted", 0, 2048)


def echo(conversation: Conversation) -> str:
    return "\n".join(f"{message.role}: {message.content}" for message in conversation)


@dataclass(frozen=True, config=STRICT)
class Recorder:
    """Answers with everything it was asked."""

    name: ClassVar[str] = "recorder"

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        write_rows(directory / "train.jsonl", data.train)
        write_rows(directory / "validation.jsonl", data.validation)
        return Customization(self.name, base, str(directory), digest(data.train), 0, 2.0, 0)

    def load(self, customization: Customization) -> LanguageModel:
        return ScriptedModel(echo)


def recorded(directory: Path, part: str) -> list[Example]:
    """What the recorder inside a fitted technique was given."""
    return read_rows(directory / "inner" / f"{part}.jsonl", Example)
