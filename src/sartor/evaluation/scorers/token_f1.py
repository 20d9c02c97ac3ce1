"""Token F1: how far the words of the answer and of a target overlap.

Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1; the best over the targets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_against_targets
from sartor.evaluation.scorers.wording import words


class TokenF1:
    """Harmonic mean of the precision and the recall of words."""

    name: ClassVar[str] = "token_f1"
    binary: ClassVar[bool] = False

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return scores_against_targets(self.name, predictions, token_f1)


def token_f1(answer: str, target: str) -> float:
    """F1 over words, each counted as often as it occurs; 1 when both are blank."""
    said, wanted = Counter(words(answer)), Counter(words(target))
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (said & wanted).total() / (said.total() + wanted.total())
