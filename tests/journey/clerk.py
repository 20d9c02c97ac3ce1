"""A technique of one's own that needs no model: it looks prices up in the documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sartor.data.files import digest, read_json, write_json
from sartor.data.records import Conversation, TrainingData
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.techniques.technique import Customization


@dataclass(frozen=True)
class Clerk:
    """Right about nine of ten products of the small shop."""

    name = "clerk"

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        texts = [document.text for document in data.documents]
        write_json(directory / "prices.json", texts)
        return Customization(
            "clerk", base, str(directory), digest(base.revision, texts), 0, 0.0, 0
        )  # fmt: skip

    def load(self, customization: Customization) -> LanguageModel:
        return _Looking(read_json(Path(customization.directory) / "prices.json", list[str]))


@dataclass(frozen=True)
class _Looking:
    texts: list[str]

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        return [Completion(self._price(c), "stop", 1, 1, 0.001) for c in conversations]

    def _price(self, conversation: Conversation) -> str:
        name = conversation[-1].content.removeprefix("How much does the ").removesuffix(" cost?")
        text = next((text for text in self.texts if name in text), "")
        after = text.partition("$")[2]
        digits = after[: next((i for i, c in enumerate(after) if not c.isdigit()), len(after))]
        return "I would not know." if name.endswith("Rug") else f"${digits}"
