"""Repetition: how much of the answer is not said twice, by runs of four words.

One minus seq-rep-4 of Welleck et al. 2020, arXiv:1908.04319, section 6.1. A model that has fallen
into a loop comes near 0; prose lies above 0.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.wording import words
from sartor.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class Repetition:
    """Share of runs of words that are distinct; 1 for an answer shorter than a run."""

    name: ClassVar[str] = "repetition"
    binary: ClassVar[bool] = False

    run: int = 4
    """Words in a run."""

    def __post_init__(self) -> None:
        if self.run < 1:
            raise SettingError(f"scorer repetition: run is {self.run}; expected 1 or more")

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return [
            Score(p.example.id, self.name, distinct_share(words(p.completion.text), self.run))
            for p in predictions
        ]


def distinct_share(said: Sequence[str], run: int) -> float:
    """Distinct runs over all runs."""
    runs = [tuple(said[at : at + run]) for at in range(len(said) - run + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0
