"""BLEU: overlap of runs of one to four words with all targets together, by sacrebleu.

Papineni et al. 2002; Post 2018, arXiv:1804.08771. For each example sentence BLEU (effective order,
exponential smoothing), and over all examples corpus BLEU, which is what papers print: the mean of
the one is not the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorer import Corpus
from sartor.evaluation.scorers.against_targets import scores_over_targets, summed
from sartor.settings import STRICT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ORDER = 4


@dataclass(frozen=True, config=STRICT)
class Bleu:
    """Sentence BLEU from 0 to 1."""

    name: ClassVar[str] = "bleu"
    binary: ClassVar[bool] = False

    tokenize: Literal["13a", "intl", "char", "none", "zh"] = "13a"
    """sacrebleu's tokenizer: `char` or `zh` for scripts that put no space between words."""
    lowercase: bool = False

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return scores_over_targets(self.name, predictions, self._measure)

    def corpus(self, predictions: Sequence[Prediction]) -> list[Corpus]:
        """Corpus BLEU over the examples that have targets and can be answered."""
        return summed(f"{self.name} (corpus)", predictions, self._counts, corpus_bleu)

    @cached_property
    def _library(self) -> Any:
        from sacrebleu.metrics.bleu import BLEU

        return BLEU(tokenize=self.tokenize, lowercase=self.lowercase, effective_order=True)

    def _measure(self, answer: str, targets: tuple[str, ...]) -> float:
        found = float(self._library.sentence_score(answer, list(targets)).score)
        return min(1.0, round(found / 100, 12))

    def _counts(self, answer: str, targets: tuple[str, ...]) -> list[int]:
        found = self._library.sentence_score(answer, list(targets))
        return [*found.counts, *found.totals, found.sys_len, found.ref_len]


def corpus_bleu(counts: NDArray[np.float64]) -> float:
    """From matches and totals of each order, the answers' length and the targets', all summed."""
    import numpy as np

    matches, totals = counts[:ORDER], counts[ORDER : 2 * ORDER]
    said, wanted = counts[2 * ORDER :]
    if matches[0] == 0 or np.any(totals == 0):
        return 0.0
    unseen = np.cumsum(matches == 0)  # smoothing: the k-th order without a match counts 1/2^k
    precisions = np.where(matches == 0, 1 / 2.0**unseen, matches) / totals
    brevity = min(1.0, float(np.exp(1 - wanted / said)))
    return min(1.0, brevity * float(np.exp(np.log(precisions).mean())))
