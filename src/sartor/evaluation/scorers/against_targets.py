"""How a text is scored against targets: the best over all that count as right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorer import Corpus
from sartor.evaluation.scorers.refusal import abstained, is_abstention

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Measure = Callable[[str, str], float]
"""(answer, target) -> 0..1"""
WholeMeasure = Callable[[str, tuple[str, ...]], float | None]
"""(answer, all targets) -> 0..1, or None where it says nothing about them"""
Counts = Callable[[str, tuple[str, ...]], Sequence[int]]
"""(answer, all targets) -> what is counted of them"""
OfCounts = Callable[["NDArray[np.float64]"], float]
"""What was counted, summed over answers -> 0..1"""

REFUSED = "refused"
"""The explanation of a score whose answer was wrong because the model declined to answer."""


def scores_against_targets(
    scorer: str, predictions: Sequence[Prediction], measure: Measure
) -> list[Score]:
    """A score for each prediction whose example says what is right.

    Where nothing can be answered, any refusal is right, as in SQuAD 2.0 (arXiv:1806.03822). Where
    something can, a refusal is scored like any answer, and said to be one.
    """
    return scores_over_targets(
        scorer, predictions, lambda text, targets: max(measure(text, t) for t in targets)
    )


def scores_over_targets(
    scorer: str, predictions: Sequence[Prediction], measure: WholeMeasure
) -> list[Score]:
    """The same, by a measure that takes all targets at once."""
    found = []
    for prediction in predictions:
        value = _value(prediction, measure)
        if value is not None:
            why = REFUSED if value < 1 and _declined(prediction) else ""
            found.append(Score(prediction.example.id, scorer, value, why))
    return found


def summed(
    figure: str, predictions: Sequence[Prediction], count: Counts, measure: OfCounts
) -> list[Corpus]:
    """The figure of all answers together that is made from counts summed over them; none where no
    example has targets and can be answered."""
    import numpy as np

    kept = [p for p in predictions if p.example.targets and p.example.answerable]
    if not kept:
        return []
    rows = [count(p.completion.text, p.example.targets) for p in kept]
    counts = np.array(rows, dtype=np.float64)  # (examples, counts)
    examples = tuple(p.example for p in kept)
    return [Corpus(figure, examples, lambda times: measure(times @ counts))]


def _value(prediction: Prediction, measure: WholeMeasure) -> float | None:
    example, text = prediction.example, prediction.completion.text
    if not example.answerable and abstained(prediction):
        return 1.0
    if not example.targets:
        return None if example.answerable else 0.0
    value = measure(text, example.targets)
    # Whether an answer is scored must not hang on what it says: what is made up is wrong.
    return 0.0 if value is None and not example.answerable else value


def _declined(prediction: Prediction) -> bool:
    return prediction.example.answerable and is_abstention(prediction.completion.text)
