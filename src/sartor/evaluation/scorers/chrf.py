"""chrF: overlap of runs of one to six letters, by sacrebleu.

Popović 2015, W15-3049: kinder than words to languages that inflect. With `word_order = 2` it is
chrF++. For each example the best over the targets, and over all examples corpus chrF: the mean of
the one is not the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorer import Corpus
from sartor.evaluation.scorers.against_targets import scores_over_targets, summed
from sartor.settings import STRICT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, config=STRICT)
class ChrF:
    """Sentence chrF from 0 to 1."""

    name: ClassVar[str] = "chrf"
    binary: ClassVar[bool] = False

    word_order: int = 0
    """Longest run of words that counts too; 2 makes chrF++."""
    beta: int = 2
    """How many times as much recall weighs as precision."""

    def __post_init__(self) -> None:
        if self.word_order < 0 or self.beta < 1:
            raise SettingError(
                f"scorer chrf: word_order is {self.word_order} and beta is {self.beta}; expected 0 "
                "or more (2 makes chrF++) and 1 or more (2 is usual)"
            )

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return scores_over_targets(self.name, predictions, self._measure)

    def corpus(self, predictions: Sequence[Prediction]) -> list[Corpus]:
        """Corpus chrF over the examples that have targets and can be answered."""
        return summed(
            f"{self.name} (corpus)",
            predictions,
            self._counts,
            lambda counts: corpus_chrf(counts, self.beta),
        )

    @cached_property
    def _library(self) -> Any:
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(word_order=self.word_order, beta=self.beta, eps_smoothing=False)

    def _measure(self, answer: str, targets: tuple[str, ...]) -> float:
        if answer in targets:  # blank ones, too
            return 1.0
        found = float(self._library.sentence_score(answer, list(targets)).score)
        return min(1.0, round(found / 100, 12))

    def _counts(self, answer: str, targets: tuple[str, ...]) -> list[int]:
        """Runs in the answer, in its best target, and in both, of each length."""
        [found] = self._library._extract_corpus_statistics([answer], [[t] for t in targets])
        return list(found)


def corpus_chrf(counts: NDArray[np.float64], beta: int) -> float:
    """From runs said, wanted and matched of each length, summed over all answers."""
    said, wanted, matched = counts.reshape(-1, 3).T  # (orders,) each
    seen = (said > 0) & (wanted > 0)  # longer than any text: no part of the mean
    if not seen.any() or not matched.any():
        return 0.0
    precision = float((matched[seen] / said[seen]).mean())
    recall = float((matched[seen] / wanted[seen]).mean())
    weight = beta**2
    return min(1.0, (1 + weight) * precision * recall / (weight * precision + recall))
