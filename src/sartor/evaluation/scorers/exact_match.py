"""Exact match: the answer is one of the targets, but for case, punctuation and articles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_against_targets
from sartor.evaluation.scorers.wording import same


class ExactMatch:
    """1 when the answer says the same as a target (wording.py says what "the same" is)."""

    name: ClassVar[str] = "exact_match"
    binary: ClassVar[bool] = True

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return scores_against_targets(self.name, predictions, lambda a, b: float(same(a, b)))
