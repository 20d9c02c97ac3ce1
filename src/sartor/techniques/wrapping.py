"""What techniques that wrap another share: keeping the inner customization, and minding its context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sartor.data.files import from_json, write_json
from sartor.data.records import Conversation, TrainingData
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.techniques.technique import Customization, Technique

INNER = "inner"


def save_inner(
    technique: Technique, base: ModelCard, data: TrainingData, directory: Path
) -> Customization:
    """Fit the technique inside, in a folder of its own; fitted already, it is not fitted again."""
    record = directory / INNER / "customization.json"
    if record.is_file():
        return from_json(Customization, record.read_text("utf-8"))
    customization = technique.fit(base, data, directory / INNER)
    write_json(record, customization)
    return customization


def load_inner(technique: Technique, directory: Path) -> LanguageModel:
    """The model inside, wherever the folder has been moved to since."""
    from dataclasses import replace

    record = (directory / INNER / "customization.json").read_text("utf-8")
    customization = from_json(Customization, record)
    return technique.load(replace(customization, directory=str(directory / INNER)))


class Fits:
    """Whether a prompt leaves room for an answer in the context of the model inside."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def context(self) -> int | None:
        """Tokens; None for models that do not say (remote ones)."""
        model = self.model
        while hasattr(model, "inner"):
            model = model.inner
        card = getattr(model, "card", None)
        return card.context if card else None

    def __call__(self, conversation: Conversation, answer: int) -> bool:
        context = self.context
        return context is None or self.model.prompt_tokens(conversation) + answer <= context
