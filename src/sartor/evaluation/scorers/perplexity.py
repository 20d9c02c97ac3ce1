"""Perplexity under a reference model: how likely the answer's words are, given the request.

Scores lie between 0 and 1, so the score is one over the perplexity: the geometric mean of the
probabilities of the answer's tokens. The perplexity itself is in the explanation. A fluent wrong
answer scores well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.place import Placed
from sartor.evaluation.scorers.refusal import says_nothing
from sartor.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class Perplexity(Placed):
    """One over the perplexity of the answer."""

    name: ClassVar[str] = "perplexity"
    binary: ClassVar[bool] = False

    model: str = ""
    """A model that scores given text: `thimble`, a folder, a hub id. Better one that is no
    candidate."""
    after_request: bool = True
    """Whether the model reads the request before the answer."""

    def check(self) -> None:
        """Raises SettingError where no model is named."""
        if not self.model:
            raise SettingError(
                f'scorer {self.name} needs a reference model. Name one: model = "thimble" under '
                f"[scorers.{self.name}]."
            )

    def made_of(self) -> str:
        return self.place.revision(self.model)

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Of answers that say something and fit the reference model's context."""
        from sartor.models.likelihood import log_likelihoods

        kept = [p for p in predictions if not says_nothing(p.completion.text)]
        asked = [p.example.input if self.after_request else () for p in kept]
        found = log_likelihoods(self._model, asked, [(p.completion.text,) for p in kept])
        scores = []
        for prediction, [likelihood] in zip(kept, found, strict=True):
            if likelihood is not None and likelihood.tokens:
                mean = likelihood.total / likelihood.tokens
                said = f"perplexity {math.exp(-mean):.1f}"
                value = min(1.0, round(math.exp(mean), 6))
                scores.append(Score(prediction.example.id, self.name, value, said))
        return scores

    @cached_property
    def _model(self) -> Any:
        return self.place.models(self.model)
