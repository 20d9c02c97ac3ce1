"""Zero-shot prompting: the bare base behind a system prompt. Nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.files import digest
from sartor.data.records import Conversation, Message, TrainingData
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.settings import STRICT, settings_of
from sartor.techniques.technique import Customization

INSTRUCTION = "Answer the question."


def with_system(conversation: Conversation, system: str) -> Conversation:
    """The conversation with a system prompt, unless it brings its own or there is none."""
    if not system or (conversation and conversation[0].role == "system"):
        return conversation
    return (Message("system", system), *conversation)


@dataclass(frozen=True, config=STRICT)
class ZeroShot:
    """The base model with a system prompt and nothing else."""

    name: ClassVar[str] = "zero-shot"
    reads_documents: ClassVar[bool] = False
    system: str = INSTRUCTION
    """Put before conversations that bring no system prompt; empty for none."""

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Nothing to fit: the customization is the prompt."""
        return Customization(
            technique=self.name,
            base=base,
            directory=str(directory),
            digest=digest(base.revision, settings_of(self)),
            trainable_parameters=0,
            seconds=0.0,
            peak_memory=0,
        )

    def load(self, customization: Customization) -> LanguageModel:
        """The base behind the system prompt."""
        from sartor.models.named import open_model

        return Prompted(open_model(customization.base), self.system)


class Prompted:
    """A model that puts a system prompt before every conversation."""

    def __init__(self, inner: Any, system: str) -> None:
        self.inner = inner
        self.system = system

    def prompt_tokens(self, conversation: Conversation) -> int:
        return int(self.inner.prompt_tokens(with_system(conversation, self.system)))

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        wrapped = [with_system(conversation, self.system) for conversation in conversations]
        completions: list[Completion] = self.inner.generate(wrapped, sampling)
        return completions

    def stream(self, conversation: Conversation, sampling: Sampling) -> Iterator[str | Completion]:
        yield from self.inner.stream(with_system(conversation, self.system), sampling)
