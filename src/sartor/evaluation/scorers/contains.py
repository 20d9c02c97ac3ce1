"""Contains: a target stands in the answer, word for word, whatever else the answer says.

Kinder than exact match to answers in whole sentences, and fooled by those that name every option.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_against_targets
from sartor.evaluation.scorers.wording import same, words


class Contains:
    """1 when the words of a target follow each other in the answer."""

    name: ClassVar[str] = "contains"
    binary: ClassVar[bool] = True

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return scores_against_targets(self.name, predictions, lambda a, b: float(_holds(a, b)))


def _holds(answer: str, target: str) -> bool:
    wanted = words(target)
    if not wanted:
        return same(answer, target)
    return f" {' '.join(wanted)} " in f" {' '.join(words(answer))} "
