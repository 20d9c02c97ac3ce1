"""KTO: thumbs up and down, each by itself; no pairs are needed.

Ethayarajh et al. 2024, arXiv:2402.01306.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.records import Example, TrainingData
from sartor.settings import STRICT
from sartor.techniques.preference_tuning import PreferenceTuning
from sartor.training.objective import Objective


@dataclass(frozen=True, config=STRICT)
class KTO(PreferenceTuning):
    """Kahneman-Tversky optimization: right answers are thumbs up, rejected ones thumbs down, and
    the rarer kind weighs the more."""

    name: ClassVar[str] = "kto"
    _wanted: ClassVar[str] = "an answer with a thumb down"

    def _objective(self) -> Objective:
        from sartor.training import thumbs

        return thumbs.KTO(beta=self.beta)

    def _judged(self, data: TrainingData) -> Sequence[Example]:
        return [e for e in (*data.train, *data.disliked) if e.rejected]
