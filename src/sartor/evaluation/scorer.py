"""What every scorer is to the rest of sartor: something that judges answers one by one.

A scorer judges; estimate.py sums up, decide.py compares. Adding a scorer is one file in `scorers/`
and one line in its registry; the contract tests pick it up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from sartor.evaluation.records import Prediction, Score


class Scorer(Protocol):
    """Judges predictions: 0 is worst, 1 is best."""

    name: ClassVar[str]
    binary: ClassVar[bool]
    """Right or wrong and nothing between: values are exactly 0 or 1."""

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """A score for each prediction it applies to, in order; none for the others.

        A score depends on its own prediction only, and on no other in the batch.
        """
        ...
