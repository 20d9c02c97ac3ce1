"""Abstention: whether the model answered exactly what can be answered.

Says nothing of whether an answer is right: read it beside a scorer that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.answered import is_answer
from sartor.evaluation.scorers.refusal import abstained, says_nothing


class Abstention:
    """1 when an answerable example was answered, or an unanswerable one refused.

    An empty completion is neither an answer nor a refusal: always 0. Each score says which of the
    four it is: right to answer, right to refuse, wrongly refused, made up.
    """

    name: ClassVar[str] = "abstention"
    binary: ClassVar[bool] = True

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return [
            Score(prediction.example.id, self.name, float(_is_apt(prediction)), _told(prediction))
            for prediction in predictions
        ]


def _is_apt(prediction: Prediction) -> bool:
    """An unanswerable example's own target is right, even in words we do not take for a refusal."""
    if prediction.example.answerable:
        return is_answer(prediction)
    return abstained(prediction)


def _told(prediction: Prediction) -> str:
    if not _is_apt(prediction) and says_nothing(prediction.completion.text):
        return "said nothing"
    if prediction.example.answerable:
        return "right to answer" if _is_apt(prediction) else "wrongly refused"
    return "right to refuse" if _is_apt(prediction) else "made up"
