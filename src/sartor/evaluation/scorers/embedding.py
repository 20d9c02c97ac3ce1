"""Embedding similarity: how close the answer lies to a target, by the encoder that comes with us.

Static embeddings: blind to the order of words and to most negations. "It is safe" and "it is not
safe" lie close. Read it beside a scorer that is not blind to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_against_targets
from sartor.evaluation.scorers.wording import same
from sartor.models.encoder import StaticEncoder


class Embedding:
    """Cosine of the answer and a target, no less than 0; the best over the targets."""

    name: ClassVar[str] = "embedding"
    binary: ClassVar[bool] = False

    def made_of(self) -> str:
        return StaticEncoder.revision()

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        texts = {p.completion.text for p in predictions}
        texts |= {target for p in predictions for target in p.example.targets}
        if not texts:
            return []
        ordered = sorted(texts)
        vectors = dict(zip(ordered, StaticEncoder().encode(ordered), strict=True))

        def likeness(answer: str, target: str) -> float:
            if same(answer, target):  # texts without a known word, too
                return 1.0
            return min(1.0, max(0.0, round(float(vectors[answer] @ vectors[target]), 6)))

        return scores_against_targets(self.name, predictions, likeness)
