"""What a run would do and take, before anything is spent: `sartor check`.

The data are read and divided as a run would; the base is described and its speed on this machine is
probed on thin copies; nothing is trained or answered. All that is written is what the probe found,
in `.sartor/probes/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sartor.candidates import refuse_impossible as refuse_candidates
from sartor.data.files import to_json
from sartor.data.prepare import Prepared
from sartor.data_step import collected_and_prepared
from sartor.evaluation.estimate import group_of
from sartor.evaluation.sampling import sampling_for
from sartor.journey import Project, bases
from sartor.models.devices import at_most
from sartor.models.language_model import ModelCard
from sartor.models.named import tokenizer_of
from sartor.progress import say, task
from sartor.project import refuse_impossible
from sartor.techniques.estimating.judging import Estimated
from sartor.tracking import tracker
from sartor.trial import Trial

FEW = 100
"""Test examples; below this only large differences can be told."""
PROBES = "probes"
"""Folder of the workspace: what was tried on this machine, by all that it depends on."""


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
    seconds_an_epoch: float = 0.0
    training_tokens: int = 0
    how: str = ""
    """Tried, or by arithmetic."""
    note: str = ""
    """What the run does so that it fits."""
    remote: bool = False
    """Whether a provider's machine answers."""
    cost: float = 0.0
    """Of its answers, and of those that it learns from, in the project's currency, where a provider
    is paid for them."""

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
            note=found.note,
            cost=found.paid,
        )


@dataclass(frozen=True)
class Checkup:
    """What was found."""

    project: str
    base: ModelCard
    """The first of `bases`."""
    bases: tuple[ModelCard, ...]
    not_tried: tuple[str, ...]
    """Candidates that would be passed over, and why."""
    currency: str
    counts: dict[str, int]
    dropped: int
    left_out: tuple[str, ...]
    """Files that could not be read, and records that were not used, with the reason."""
    warnings: tuple[str, ...]
    scorer: str
    margin: float
    resolvable: float
    """Smallest difference that the test part can be expected to show, where one candidate is right
    and the other wrong on a fifth of the examples; 1 where it can show none."""
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
        cards = {"base": _plain(self.base), "bases": [_plain(card) for card in self.bases]}
        told = {**asdict(self), **cards}
        return {**told, "seconds": self.seconds, "cost": self.cost, "faults": list(self.faults)}

    @property
    def cost(self) -> float:
        """What providers would be paid for the whole run."""
        return sum(one.cost for one in self.candidates)


def _plain(card: ModelCard) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(to_json(card))
    return told


def check(one: Project, processes: int | None = None) -> Checkup:
    """Look at the project file, the data, the bases and every candidate; so many processes train
    together, or as many as were launched."""
    from sartor.techniques.estimating.division import meant

    allowed = at_most(one.file.criteria.max_memory_gb)
    with one.names.in_use(), allowed, meant(processes):
        return _check(one)


def _check(one: Project) -> Checkup:
    from sartor.evaluation.ranking import resolvable

    trials = one.trials()
    binary = {scorer.name: scorer.binary for scorer in one.scorers()}
    cards = bases(one)
    refuse_candidates(trials, cards)
    tracker.refuse_missing(one.file.tracking.model_dump())
    prepared = collected_and_prepared(one.folder, one.file)
    refuse_impossible(one.file, prepared.counts["documents"])
    for trial in trials:
        trial.refuse_data(prepared.split.training)
    criteria = one.file.criteria
    groups = list(map(group_of, prepared.split.test))
    spread = 0.2**0.5  # the standard deviation of differences that are +-1 on a fifth
    estimates, room = expected(one, trials, cards, prepared)
    return Checkup(
        project=one.name,
        base=next(iter(cards.values())),
        bases=tuple(cards.values()),
        not_tried=tuple(str(passed) for passed in one.left_out()),
        currency=one.file.cost.currency,
        counts=prepared.counts,
        dropped=len(prepared.dropped),
        left_out=tuple(f"{one.source or one.id}: {one.reason}" for one in prepared.dropped),
        warnings=prepared.warnings,
        scorer=criteria.scorer,
        margin=criteria.margin,
        resolvable=resolvable(groups, spread, len(trials) - 1, binary.get(criteria.scorer, False)),
        max_new_tokens=room,
        candidates=tuple(estimates),
    )


def expected(
    one: Project, trials: Sequence[Trial], cards: Mapping[str, ModelCard], prepared: Prepared
) -> tuple[list[Expected], int]:
    """What each candidate would take here, and the most tokens of an answer (on the first base)."""
    training = prepared.split.training
    rooms: list[int] = []
    estimates: list[Expected] = []
    for base, card in cards.items():
        tokenizer, seed = tokenizer_of(card), one.file.project.seed
        wanted = one.file.evaluate.max_new_tokens
        rooms.append(sampling_for(tokenizer, training.train, wanted, seed).max_new_tokens)
        several = [trial for trial in trials if trial.base == base]
        if card.remote is not None:
            estimates += on_remote(several, card, prepared, tokenizer)
        else:
            kept = one.workspace.folder(PROBES)
            estimates += _on_this_machine(several, card, prepared, rooms[-1], kept)
    return estimates, rooms[0]


def _on_this_machine(
    trials: Sequence[Trial], card: ModelCard, prepared: Prepared, room: int, kept: Path
) -> list[Expected]:
    from sartor.techniques.estimating.estimate import estimated
    from sartor.techniques.estimating.probe import Probe

    training = prepared.split.training
    answers = len(training.validation) + len(prepared.split.test)
    say(f"base {card.name}: every candidate is tried on copies of few of its layers")
    estimates = []
    with task("estimate", len(trials), "candidates") as bar, Probe(card, kept) as probe:
        for trial in trials:
            found = estimated(trial.technique, card, training, answers, room, probe=probe)
            estimates.append(Expected.of(trial, found))
            bar.advance()
        if why := probe.fault():  # asked last: a network that was loaded is no part of estimates
            return [replace(one, fits=False, why=why) for one in estimates]
    return estimates


def on_remote(
    trials: Sequence[Trial], card: ModelCard, prepared: Prepared, tokenizer: Any
) -> list[Expected]:
    """What candidates on a remote model would cost, and about how long their answers take."""
    import psutil

    from sartor.techniques.estimating.priced import priced
    from sartor.techniques.estimating.workload import workload

    training = prepared.split.training
    answers = len(training.validation) + len(prepared.split.test)
    estimates: list[Expected] = []
    for trial in trials:
        work = workload(trial.technique, card, training, tokenizer)
        asked = answers + work.asked_new_tokens / max(1.0, work.answer_tokens)
        found = priced(
            card,
            asked,
            answers * work.prompt_tokens + work.asked_prompt_tokens,
            answers * work.answer_tokens + work.asked_new_tokens,
            before=sum(one.cost for one in estimates),
        )
        estimates.append(
            Expected(
                name=trial.name,
                technique=trial.candidate.technique,
                seconds_to_customize=0.0,
                seconds_to_answer=found.seconds,
                peak_memory_bytes=psutil.Process().memory_info().rss,
                fits=not found.why,
                why=found.why,
                how="by arithmetic",
                note=found.note,
                remote=True,
                cost=found.cost,
            )
        )
    return estimates
