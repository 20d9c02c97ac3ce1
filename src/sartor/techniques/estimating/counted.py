"""A candidate while its work is counted: its data, and how requests are put to its base.

What workload.py hands to those who count what techniques add (extra_work.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sartor.data.records import Example, TrainingData
from sartor.models import chat
from sartor.models.language_model import ModelCard
from sartor.techniques.estimating.drawn import Drawn
from sartor.training.settings import TrainingSettings

SAMPLE = 100
"""Examples and documents whose tokens are counted; the rest are taken to be like them."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known of a candidate's data while its work is counted."""

    card: ModelCard
    data: TrainingData
    drawn: Drawn
    tokenizer: Any
    options: TrainingSettings | None
    """Of the innermost technique; None where nothing is trained."""
    one_rate: bool
    """Whether one learning rate is tried at a time."""
    plan: Callable[[TrainingSettings, list[int], list[int], int], Any]
    """The work of a training: its settings, tokens of some examples and of those that are watched,
    and how many examples there are."""
    whole: Callable[[Any], Any]
    """The work of another technique on the same data."""

    def answer(self, text: str) -> int:
        return len(chat.encode_answer(self.tokenizer, text))

    def prompt(self, example: Example) -> int:
        return len(self.drawn.prompt(example))
