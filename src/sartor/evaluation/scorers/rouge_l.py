"""ROUGE-L: the longest common subsequence of words, as an F-measure.

Lin 2004, "ROUGE: a package for automatic evaluation of summaries"; counted by the rouge-score
library. Its own tokenizer keeps only a-z and 0-9, so every other script would score 0: ours splits
ASCII text as it does, and keeps the letters of all scripts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_against_targets
from sartor.evaluation.scorers.wording import normalize

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


class Letters:
    """Splits where there is neither a letter nor a digit; no stemming."""

    def tokenize(self, text: str) -> list[str]:
        return "".join(c if _is_letter(c) else " " for c in text.lower()).split()


class RougeL:
    """ROUGE-L F-measure; the best over the targets."""

    name: ClassVar[str] = "rouge_l"
    binary: ClassVar[bool] = False

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        from rouge_score.rouge_scorer import RougeScorer

        library = RougeScorer(["rougeL"], tokenizer=Letters())
        return scores_against_targets(
            self.name, predictions, lambda answer, target: _rouge_l(library, answer, target)
        )


def _rouge_l(library: RougeScorer, answer: str, target: str) -> float:
    if normalize(answer) == normalize(target):  # texts without a word, too ("?!")
        return 1.0
    return float(library.score(target, answer)["rougeL"].fmeasure)


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"
