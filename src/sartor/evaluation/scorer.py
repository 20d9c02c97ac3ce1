"""What every scorer is to the rest of sartor: something that judges answers, many at once.

A scorer judges; estimate.py sums up, decide.py compares. Adding a scorer is one file in `scorers/`
and one line in its registry; the contract tests pick it up. What a scorer may have beside `score`
is in `Noted`, `CorpusScorer`, `Choosing` and `MadeOf`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sartor.data.records import Example
from sartor.evaluation.records import Prediction, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Scorer(Protocol):
    """Judges predictions: 0 is worst, 1 is best."""

    @property
    def name(self) -> str: ...

    @property
    def binary(self) -> bool:
        """Right or wrong and nothing between: values are exactly 0 or 1."""
        ...

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """A score for each prediction it applies to, in order; none for the others.

        All predictions of a part come at once, so that models are asked in batches. A score
        depends on its own prediction only, and on no other in the batch.
        """
        ...


@runtime_checkable
class Noted(Protocol):
    """A scorer that has something to say of how far its scores can be trusted."""

    def note(self, predictions: Sequence[Prediction], scores: Sequence[Score]) -> str:
        """What must be shown wherever the mean of these scores is shown; empty for nothing."""
        ...


@dataclass(frozen=True)
class Corpus:
    """A figure that is of all answers together and no mean of theirs: corpus BLEU, macro F1."""

    name: str
    examples: tuple[Example, ...]
    value: Callable[[NDArray[np.float64]], float]
    """From how often each example counts, (examples,), to the figure, 0 to 1."""


@runtime_checkable
class CorpusScorer(Protocol):
    """A scorer that also has figures of all answers together."""

    def corpus(self, predictions: Sequence[Prediction]) -> list[Corpus]:
        """The figures that there are; those of no example are left out."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """A scorer that asks which option the candidate's model finds likeliest (likeliest.py)."""

    name: str

    def likelihood_options(self, example: Example) -> tuple[str, ...]:
        """The options, as the model would write them; none where that is not asked."""
        ...


@runtime_checkable
class MadeOf(Protocol):
    """A scorer that reads files or the user's code: a change of them changes its scores."""

    def made_of(self) -> str:
        """Digest of all that it reads beside its settings."""
        ...
