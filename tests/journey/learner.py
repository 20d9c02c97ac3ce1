"""A technique of one's own that learns from a remote model: what it says of each request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sartor.data.files import digest, read_json, write_json
from sartor.data.records import Conversation, TrainingData
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.models.named import open_model
from sartor.techniques.technique import Customization


@dataclass(frozen=True)
class Learner:
    """Says what its teacher said to the first request."""

    name = "learner"
    reads_documents = False
    teacher: str = "teacher"

    @property
    def asks(self) -> tuple[str, ...]:
        return (self.teacher,)

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        requests = [example.input for example in data.train[:5]]
        answers = open_model(self.teacher).generate(requests, Sampling(max_new_tokens=8))
        write_json(directory / "said.json", answers[0].text)
        return Customization(
            "learner", base, str(directory), digest(base.revision, answers[0].text), 0, 0.0, 0
        )

    def load(self, customization: Customization) -> LanguageModel:
        return _Saying(read_json(Path(customization.directory) / "said.json", str))


@dataclass(frozen=True)
class _Saying:
    text: str

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        return [Completion(self.text, "stop", 1, 1, 0.0) for _ in conversations]
