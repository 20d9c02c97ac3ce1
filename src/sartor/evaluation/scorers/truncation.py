"""Truncation: whether the model came to the end of its answer, or was cut off.

Of answers made elsewhere nobody here knows, and they have no score.
"""

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
            if p.completion.finish != "unknown"
            for why in [_WHY.get(p.completion.finish, "")]
        ]
