"""Multiple choice by likelihood: whether the model itself finds a right option the likeliest.

Nothing is generated (evaluation/likeliest.py), so a model that knows the answer and not the form
is not marked down for it. `choice` judges what it writes. For local models; answers made elsewhere
and those of remote models have no such score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sartor.data.records import Example
from sartor.evaluation.records import NO_ROOM, Prediction, Score
from sartor.evaluation.scorers.choice import options_of, right_options


class ChoiceLikelihood:
    """1 when the likeliest option is a target's."""

    name: ClassVar[str] = "choice_likelihood"
    binary: ClassVar[bool] = True

    def likelihood_options(self, example: Example) -> tuple[str, ...]:
        """As the model would write them: the example's `choices`, else the letters of those that
        its request lists; none where no target is among them."""
        options = options_of(example)
        if not right_options(example) & options.keys():
            return ()
        return example.choices or tuple(options)

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Of examples of which a target is an option, where the model could be asked; 0 where the
        prompt leaves no room for the options."""
        return [
            self._score(prediction.example, prediction.likeliest)
            for prediction in predictions
            if prediction.likeliest is not None
        ]

    def _score(self, example: Example, likeliest: int) -> Score:
        if likeliest == NO_ROOM:
            return Score(example.id, self.name, 0.0, "no room")
        letter = list(options_of(example))[likeliest]
        right = float(letter in right_options(example))
        return Score(example.id, self.name, right, f"chose {letter}")
