"""What a run would do and take, before anything is spent: `sartor check`.

The data are read and divided as a run would; the base is described and its speed on this machine is
probed on a thin copy; nothing is trained, answered or written.
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
    from sartor.evaluation.statistics import smallest_difference

    trials, scorers = one.trials(), one.scorers()
    del scorers  # only that they are there
    card = choose(one)
    one.refuse_impossible(trials, card)
    prepared = collected_and_prepared(one)
    refuse_impossible(one.file, prepared.counts["documents"])
    for trial in trials:
        trial.refuse_data(prepared.split.training)
    criteria = one.file.criteria
    pairs = max(1, len(trials) - 1)
    disagreement = 0.2**0.5  # the standard deviation of differences that are +-1 on a fifth
    say(f"base {card.name}: probing this machine's speed")
    expected, room = _expected(one, trials, card, prepared)
    return Checkup(
        project=one.name,
        base=card,
        counts=prepared.counts,
        dropped=len(prepared.dropped),
        warnings=prepared.warnings,
        scorer=criteria.scorer,
        margin=criteria.margin,
        resolvable=smallest_difference(len(prepared.split.test), disagreement, 0.05 / pairs),
        max_new_tokens=room,
        candidates=tuple(expected),
    )


def _expected(
    one: Project, trials: Sequence[Trial], card: ModelCard, prepared: Prepared
) -> tuple[list[Expected], int]:
    from sartor.models.local import load_tokenizer
    from sartor.models.speed import measure
    from sartor.techniques.estimate import estimate
    from sartor.techniques.workload import workload

    training = prepared.split.training
    answers = len(training.validation) + len(prepared.split.test)
    tokenizer, seed = load_tokenizer(card), one.file.project.seed
    wanted = one.file.evaluate.max_new_tokens
    room = sampling_for(tokenizer, training.train, wanted, seed).max_new_tokens
    speed = measure(card)
    expected = []
    with task("estimate", len(trials), "candidates") as bar:
        for trial in trials:
            work = workload(trial.technique, card, training, tokenizer)
            found = estimate(work, card, speed, answers, room)
            expected.append(
                Expected(
                    name=trial.name,
                    technique=trial.candidate.technique,
                    seconds_to_customize=found.seconds_to_customize,
                    seconds_to_answer=found.seconds_to_answer,
                    peak_memory_bytes=found.peak_memory_bytes,
                    fits=found.fits,
                    why=found.why,
                )
            )
            bar.advance()
    return expected, room
