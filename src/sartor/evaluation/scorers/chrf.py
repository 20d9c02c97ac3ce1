"""chrF: overlap of runs of one to six letters, by sacrebleu.

Popović 2015, W15-3049: kinder than words to languages that inflect. With `word_order = 2` it is
chrF++. The best over the targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_over_targets
from sartor.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class ChrF:
    """Sentence chrF from 0 to 1."""

    name: ClassVar[str] = "chrf"
    binary: ClassVar[bool] = False

    word_order: int = 0
    """Longest run of words that counts too; 2 makes chrF++."""
    beta: int = 2
    """How many times as much recall weighs as precision."""

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return scores_over_targets(self.name, predictions, self._measure)

    @cached_property
    def _library(self) -> Any:
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(word_order=self.word_order, beta=self.beta, eps_smoothing=False)

    def _measure(self, answer: str, targets: tuple[str, ...]) -> float:
        if answer in targets:  # blank ones, too
            return 1.0
        found = float(self._library.sentence_score(answer, list(targets)).score)
        return min(1.0, round(found / 100, 12))
