"""Abstention: whether the model answered exactly what can be answered.

Says nothing of whether an answer is right: read it beside a scorer that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.answered import is_answer
from sartor.evaluation.scorers.refusal import abstained


class Abstention:
    """1 when an answerable example was answered, or an unanswerable one refused.

    An empty completion is neither an answer nor a refusal: always 0.
    """

    name: ClassVar[str] = "abstention"
    binary: ClassVar[bool] = True

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return [
            Score(prediction.example.id, self.name, float(_is_apt(prediction)))
            for prediction in predictions
        ]


def _is_apt(prediction: Prediction) -> bool:
    """An unanswerable example's own target is right, even in words we do not take for a refusal."""
    if prediction.example.answerable:
        return is_answer(prediction)
    return abstained(prediction)
