"""How a text is scored against targets: the best over all that count as right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.refusal import is_abstention

Measure = Callable[[str, str], float]
"""(answer, target) -> 0..1"""


def scores_against_targets(
    scorer: str, predictions: Sequence[Prediction], measure: Measure
) -> list[Score]:
    """A score for each prediction whose example says what is right.

    Where nothing can be answered, any refusal is right, as in SQuAD 2.0 (arXiv:1806.03822).
    """
    return [
        Score(prediction.example.id, scorer, value)
        for prediction in predictions
        if (value := _best(prediction, measure)) is not None
    ]


def _best(prediction: Prediction, measure: Measure) -> float | None:
    example, text = prediction.example, prediction.completion.text
    if not example.answerable and is_abstention(text):
        return 1.0
    if not example.targets:
        return None if example.answerable else 0.0
    return max(measure(text, target) for target in example.targets)
