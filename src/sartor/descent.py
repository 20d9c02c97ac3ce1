"""Every candidate of a run tried, base by base; down a ladder only while the smaller bases do.

A candidate that fails loses neither the others nor the other bases. Which step a ladder takes is
evaluation/ladder.py's; what one candidate goes through, trial.py's and examined.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sartor.data.prepare import Prepared
from sartor.errors import DataError, DiskError, ModelError, SartorError
from sartor.evaluation.forgetting import Gate
from sartor.evaluation.lacking import Lacking
from sartor.evaluation.ladder import step
from sartor.evaluation.records import Comparison, Report
from sartor.evaluation.scorer import Scorer
from sartor.evaluation.stopping import hopeless
from sartor.examined import Asked, Stop, Tried, examine, joined_over_seeds
from sartor.models.language_model import ModelCard
from sartor.models.memory import ran_out
from sartor.models.named import tokenizer_of
from sartor.progress import say
from sartor.project import ProjectFile
from sartor.run_record import NotTried
from sartor.tracking import tracker
from sartor.trial import Training, Trial
from sartor.workspace import Workspace


@dataclass
class Descent:
    """What came of all trials."""

    tried: list[Tried] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Candidates that could not be run, and why."""
    not_tried: list[NotTried] = field(default_factory=list)


def try_all(
    file: ProjectFile,
    workspace: Workspace,
    trials: Sequence[Trial],
    cards: Mapping[str, ModelCard],
    prepared: Prepared,
    scorers: Sequence[Scorer],
    gate: Gate | None = None,
    lacking: Lacking | None = None,
) -> Descent:
    """Customize and evaluate every candidate, those of a ladder from the largest base down."""
    found, training = Descent(), Training.of(prepared.split.training)
    ladder = file.model.names if file.model.ladder else ()
    above: list[Tried] = []
    stopped, number = "", 0
    for base, card in cards.items():
        rung = [trial for trial in trials if trial.base == base]
        if stopped and base in ladder:
            found.not_tried += [NotTried(trial.name, stopped) for trial in rung]
            continue
        here: list[Tried] = []
        asked: Asked | None = None
        for trial in rung:
            number += 1
            say(f"candidate {number} of {len(trials)}: {trial.name}")
            try:
                asked = asked or _asked(file, card, prepared, scorers, gate, lacking)
                before = [one.validation for one in (*found.tried, *here)]
                stop = _stop(file, before)
                trying = _Trying(card, training, prepared, asked, workspace, stop)
                with tracker.candidate(trial.name, trial.settings) as scores:
                    here.append(trying.over_seeds(trial))
                    on_test = here[-1].test
                    scores |= {n: e.mean for n, e in on_test.estimates.items()} if on_test else {}
            except DiskError:  # the next candidate would meet it too
                raise
            except (ModelError, DataError, MemoryError, RuntimeError, OSError) as error:
                found.failures.append(f"{trial.name} failed: {_told(error)}")
                say(found.failures[-1])
        found.tried += here
        if base in ladder:
            stopped = _stopped(file, base, here, above)
            above += here
    return found


def _stop(file: ProjectFile, before: Sequence[Report]) -> Stop | None:
    """Stops candidates that are hopeless on validation, beside those before them, if that is
    wanted."""
    if not file.evaluate.stop_hopeless:
        return None
    criteria, seed = file.criteria, file.project.seed

    def hopeless_yet(report: Report) -> Comparison | None:
        return hopeless(report, before, criteria.scorer, criteria.margin, seed)

    return hopeless_yet


@dataclass(frozen=True)
class _Trying:
    """What one candidate goes through on one base."""

    card: ModelCard
    training: Training
    prepared: Prepared
    asked: Asked
    workspace: Workspace
    stop: Stop | None

    def once(self, trial: Trial, stop: Stop | None) -> Tried:
        made = trial.customize(self.card, self.training, self.workspace)
        return examine(trial, made, self.prepared.split, self.asked, self.workspace, stop)

    def over_seeds(self, trial: Trial) -> Tried:
        """Tried once with each of its seeds, and joined; the first may be stopped."""
        seeds = trial.candidate.seeds
        if not seeds:
            return self.once(trial, self.stop)
        ones = [self.once(trial.seeded(seeds[0]), self.stop)]
        if not ones[0].stopped:
            ones += [self.once(trial.seeded(other), None) for other in seeds[1:]]
        return joined_over_seeds(trial, ones, self.workspace, self.asked)


def _stopped(file: ProjectFile, base: str, here: Sequence[Tried], above: Sequence[Tried]) -> str:
    """Why the ladder ends at this base; empty where it goes on."""
    rung, before = [one.validation for one in here], [one.validation for one in above]
    scorer, margin = file.criteria.scorer, file.criteria.margin
    found = step(rung, before, scorer, margin, file.project.seed)
    said = f"ladder: {base}: {found.why}"
    if found.goes_on:
        say(said)
        return ""
    say(f"{said}; smaller bases are not tried")
    return f"the ladder ended at {base}: {found.why}"


def _asked(
    file: ProjectFile, card: ModelCard, prepared: Prepared, scorers: Sequence[Scorer],
    gate: Gate | None, lacking: Lacking | None,
) -> Asked:  # fmt: skip
    """How candidates on this base are asked: as long answers as its own tokens make of the right
    ones."""
    from sartor.evaluation.sampling import sampling_for

    wanted, seed = file.evaluate, file.project.seed
    train = prepared.split.training.train
    return Asked(
        sampling=sampling_for(tokenizer_of(card), train, wanted.max_new_tokens, seed),
        scorers=tuple(scorers),
        batch=wanted.batch_size,
        prices=file.cost,
        seed=seed,
        gate=gate,
        lacking=lacking,
    )


def _told(error: Exception) -> str:
    """The failure in a sentence; what is not a known way to fail is a fault of ours, and raised."""
    cause = error.__cause__
    if isinstance(error, SartorError) and (not isinstance(cause, OSError) or ran_out(cause)):
        return str(error)
    if ran_out(error):
        return (
            "out of memory. Lower pack_tokens or [evaluate] batch_size, take a smaller base, or "
            "leave this candidate out."
        )
    raise error
