"""Answered: whether the model gave an answer at all, right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.refusal import abstained, says_nothing


class Answered:
    """1 when the completion says something, and that is not "I don't know"."""

    name: ClassVar[str] = "answered"
    binary: ClassVar[bool] = True

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return [
            Score(prediction.example.id, self.name, float(is_answer(prediction)))
            for prediction in predictions
        ]


def is_answer(prediction: Prediction) -> bool:
    """Whether there are words, and they are no refusal."""
    return not (says_nothing(prediction.completion.text) or abstained(prediction))
