"""Contains: a target stands in the answer, word for word, whatever else the answer says.

Kinder than exact match to answers in whole sentences, and fooled by those that name every option.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_against_targets
from sartor.evaluation.scorers.wording import is_article, same, stands_as_written, words


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
    if is_article(target):
        return same(answer, target) or stands_as_written(target, answer)
    return f" {' '.join(wanted)} " in f" {' '.join(words(answer))} "
