"""Truncation: whether the model came to the end of its answer, or was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score

_WHY = {"length": "cut off at the longest answer", "no_room": "the prompt left no room"}


class Truncation:
    """1 when the model ended the answer itself."""

    name: ClassVar[str] = "truncation"
    binary: ClassVar[bool] = True

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return [
            Score(p.example.id, self.name, float(not why), why)
            for p in predictions
            for why in [_WHY.get(p.completion.finish, "")]
        ]
