"""What a run would do and take, before anything is spent: `sartor check`.

The data are read and divided as a run would; the base is described and its speed on this machine is
probed on thin copies; nothing is trained, answered or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sartor.data.prepare import Prepared
from sartor.evaluation.sampling import sampling_for
from sartor.journey import Project, choose, collected_and_prepared
from sartor.models.language_model import ModelCard
from sartor.progress import say, task
from sartor.project import refuse_impossible
from sartor.techniques.estimate import Estimated
from sartor.trial import Trial

FEW = 100
"""Test examples; below this only large differences can be told."""


@dataclass(frozen=True)
class Expected:
    """What a candidate would take."""

    name: str
    technique: str
    seconds_to_customize: float
    seconds_to_answer: float
    """The validation and the test part."""
    peak_memory_bytes: int
    fits: bool
    why: str
    """Why it does not fit; empty when it does."""
    seconds_an_epoch: float
    training_tokens: int
    how: str
    """Tried, or by arithmetic."""

    @classmethod
    def of(cls, trial: Trial, found: Estimated) -> Expected:
        """The estimate under the candidate's name."""
        return cls(
            name=trial.name,
            technique=trial.candidate.technique,
            seconds_to_customize=found.seconds_to_customize,
            seconds_to_answer=found.seconds_to_answer,
            peak_memory_bytes=found.peak_memory_bytes,
            fits=found.fits,
            why=found.why,
            seconds_an_epoch=found.seconds_an_epoch,
            training_tokens=found.training_tokens,
            how=found.how,
        )


@dataclass(frozen=True)
class Checkup:
    """What was found."""

    project: str
    base: ModelCard
    counts: dict[str, int]
    dropped: int
    warnings: tuple[str, ...]
    scorer: str
    margin: float
    resolvable: float
    """Smallest difference of right-or-wrong scores the test part can be expected to show, where
    candidates disagree on a fifth of the examples."""
    max_new_tokens: int
    candidates: tuple[Expected, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """What would stop a run."""
        return tuple(f"{one.name}: {one.why}" for one in self.candidates if not one.fits)

    @property
    def seconds(self) -> float:
        """The whole run."""
        return sum(one.seconds_to_customize + one.seconds_to_answer for one in self.candidates)

    def told(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {**asdict(self), "seconds": self.seconds, "faults": list(self.faults)}


def check(one: Project) -> Checkup:
    """Look at the project file, the data, the base and every candidate."""
    from sartor.evaluation.ranking import resolvable

    trials, scorers = one.trials(), one.scorers()
    del scorers  # only that they are there
    card = choose(one)
    one.refuse_impossible(trials, card)
    prepared = collected_and_prepared(one)
    refuse_impossible(one.file, prepared.counts["documents"])
    criteria = one.file.criteria
    disagreement = 0.2**0.5  # the standard deviation of differences that are +-1 on a fifth
    say(f"base {card.name}: every candidate is tried on copies of few of its layers")
    estimates, room = expected(one, trials, card, prepared)
    return Checkup(
        project=one.name,
        base=card,
        counts=prepared.counts,
        dropped=len(prepared.dropped),
        warnings=prepared.warnings,
        scorer=criteria.scorer,
        margin=criteria.margin,
        resolvable=resolvable(len(prepared.split.test), disagreement, len(trials) - 1),
        max_new_tokens=room,
        candidates=tuple(estimates),
    )


def expected(
    one: Project, trials: Sequence[Trial], card: ModelCard, prepared: Prepared
) -> tuple[list[Expected], int]:
    """What each candidate would take on this machine, and the longest answer in tokens."""
    from sartor.models.local import load_tokenizer
    from sartor.techniques.estimate import estimated

    training = prepared.split.training
    answers = len(training.validation) + len(prepared.split.test)
    tokenizer, seed = load_tokenizer(card), one.file.project.seed
    wanted = one.file.evaluate.max_new_tokens
    room = sampling_for(tokenizer, training.train, wanted, seed).max_new_tokens
    estimates = []
    with task("estimate", len(trials), "candidates") as bar:
        for trial in trials:
            found = estimated(trial.technique, card, training, answers, room)
            estimates.append(Expected.of(trial, found))
            bar.advance()
    return estimates, room
