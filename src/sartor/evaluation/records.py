"""The records of evaluation: what was answered, how it scored, and what was decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sartor.data.records import Example
from sartor.models.language_model import Completion

NO_ROOM = -1
"""For the number of an option, where the prompt leaves none for them in the model's context."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One example and the completion it got."""

    example: Example
    completion: Completion
    likeliest: int | None = None
    """Which of the example's options the model itself finds likeliest, from 0; `NO_ROOM` where
    the prompt leaves none for them, None where it was not asked (likeliest.py)."""


@dataclass(frozen=True, slots=True)
class Score:
    """One scorer's judgement of one prediction; 0 is worst, 1 is best."""

    example_id: str
    scorer: str
    value: float
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval over n examples."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured around a candidate rather than scored on its answers."""

    technique: str
    base: str
    seconds_per_answer: float | None
    """None where the answers were made elsewhere and nobody said."""
    cost_per_answer: float | None
    """In the project's currency: serving, plus training spread over the expected requests."""
    trainable_parameters: int
    training_seconds: float
    peak_memory_bytes: int
    training_cost: float = 0.0
    """All of it, in the project's currency."""
    expected_requests: int = 1
    """That training is spread over in `cost_per_answer`."""
    serving_reach: float | None = None
    """Half the 95 % interval of `serving_cost`, by the noise of what was timed (timing.py); None
    where that is not known."""

    @property
    def serving_cost(self) -> float | None:
        """Of one more answer, in the project's currency."""
        if self.cost_per_answer is None:
            return None
        return max(0.0, self.cost_per_answer - self.training_cost / self.expected_requests)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """General ability of the base and of the candidate, on the same questions."""

    before: float
    after: float
    loss: float
    """before - after."""
    low: float
    high: float
    """95 %, of the loss."""
    n: int
    limit: float
    """The largest loss that is allowed."""


@dataclass(frozen=True, slots=True)
class Report:
    """A candidate on one set of examples."""

    candidate: str
    measured: Measured
    predictions: tuple[Prediction, ...]
    scores: tuple[Score, ...]
    estimates: dict[str, Estimate]
    """By scorer."""
    slices: dict[str, dict[str, Estimate]]
    """By slice (`tag`), then by scorer."""
    by_seed: dict[str, dict[str, tuple[float, ...]]] = field(default_factory=dict)
    """By scorer, then example id: each seed's score, where it was trained with several. `scores`
    are their means, `predictions` those of the first."""
    notes: dict[str, str] = field(default_factory=dict)
    """By scorer, what must be shown wherever its mean is: how far it can be trusted."""
    forgotten: Forgotten | None = None
    leaked: str = ""
    """Why its answers must have come from the test part; empty where nothing says so."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a winner must meet; from sartor.toml."""

    scorer: str
    margin: float
    at_least: float | None = None
    max_seconds: float | None = None
    max_cost: float | None = None
    max_memory_gb: float | None = None
    currency: str = ""
    """That costs are in; empty where it is not known."""


Verdict = Literal[
    "winner", "best", "non-inferior", "worse", "cannot tell", "refused", "stopped"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against the best one: paired, over the same examples."""

    candidate: str
    against: str
    """The best; empty for a candidate that has no score to be compared by."""
    difference: float
    """Mean of (candidate - against); negative is worse."""
    low: float
    high: float
    """Holm-corrected interval."""
    p: float
    """Holm-adjusted, two-sided."""
    verdict: Verdict
    reason: str
    label_more: int | None = None
    """About how many more test examples would settle a `cannot tell`."""

    @property
    def is_of_two(self) -> bool:
        """Whether there is a difference: the best has none, nor one without a score."""
        return bool(self.against) and self.candidate != self.against


@dataclass(frozen=True, slots=True)
class Decision:
    """Which candidate to ship, and why."""

    winner: str | None
    best: str | None
    reason: str
    criteria: Criteria
    n: int
    resolvable: float
    """Smallest true difference that n examples can be expected to show (80 % power)."""
    comparisons: tuple[Comparison, ...]
