"""A trial examined: what it made of the base is asked the validation and test part, and scored.

    answers/<candidate>-<digest>/         test.jsonl, validation.jsonl, measured.json
    validation/<candidate>-<digest>.json  the report on validation, for the history
    forgetting/<digest>.json              general ability of a model, asked once

No answer is made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from sartor.answering_memory import Memory
from sartor.customized import located
from sartor.data.files import digest
from sartor.data.records import Example, Split
from sartor.evaluation.cost import cost_per_answer, remote_cost_per_answer, training_cost
from sartor.evaluation.forgetting import Gate, Results, told
from sartor.evaluation.joined import joined
from sartor.evaluation.lacking import Lacking
from sartor.evaluation.likeliest import with_likeliest
from sartor.evaluation.predict import predict
from sartor.evaluation.records import Comparison, Measured, Prediction, Report
from sartor.evaluation.report import report, save
from sartor.evaluation.scorer import Scorer
from sartor.evaluation.timing import serving_reach
from sartor.models.language_model import Sampling
from sartor.project import Cost
from sartor.techniques.asked import Later
from sartor.techniques.technique import Customization
from sartor.techniques.wrapping import innermost
from sartor.trial import Trial
from sartor.workspace import Workspace


@dataclass(frozen=True)
class Tried:
    """What came of a trial."""

    trial: Trial
    customization: Customization
    test: Report | None
    """None for one that was stopped after validation."""
    validation: Report
    validation_file: str
    """Where the report on validation is kept, inside the workspace."""
    sampling: Sampling
    stopped: Comparison | None = None
    """Why the test part was not asked: the comparison on validation that was hopeless."""


@dataclass(frozen=True)
class Asked:
    """How every candidate is asked, and what answers are judged by."""

    sampling: Sampling
    scorers: tuple[Scorer, ...]
    batch: int
    prices: Cost
    seed: int
    gate: Gate | None = None
    """What must not be forgotten."""
    lacking: Lacking | None = None
    """Scorers that the run has to go without."""


Stop = Callable[[Report], Comparison | None]
"""Given the report on validation, what stops the candidate there; None lets it go on."""


def examine(
    trial: Trial, made: Customization, split: Split, asked: Asked, workspace: Workspace,
    stop: Stop | None = None,
) -> Tried:  # fmt: skip
    """Ask it the validation part and, unless it is stopped there, the test part; score."""
    examples = (*split.training.validation, *split.test)
    key = digest(made.digest, asked.sampling, [(e.id, e.input) for e in examples])
    name = f"{trial.candidate.name}-{key[:12]}"
    folder = workspace.folder("answers", name)
    model = Later(partial(trial.technique.load, located(made, workspace.project)))
    with Memory(folder / "measured.json", model) as memory:
        validation, test = split.training.validation, split.test
        held = _ask(trial, model, validation, asked, folder / "validation.jsonl", made)
        stopped = _stopped(trial, stop, made, held, asked)
        tested = [] if stopped else _ask(trial, model, test, asked, folder / "test.jsonl", made)
    seen = tested or held
    measured = _measured(made, seen, memory.peak, asked.prices, trial.candidate.technique)
    kept = f"validation/{name}.json"
    on_validation = report(trial.name, measured, held, asked.scorers, asked.seed, asked.lacking)
    save(on_validation, workspace.root / kept)
    if stopped:
        return Tried(trial, made, None, on_validation, kept, asked.sampling, stopped)
    on_test = report(trial.name, measured, tested, asked.scorers, asked.seed, asked.lacking)
    if asked.gate and made.base.remote is None:
        on_test = _with_forgotten(on_test, asked.gate, made, model, workspace)
    return Tried(trial, made, on_test, on_validation, kept, asked.sampling)


def _stopped(
    trial: Trial, stop: Stop | None, made: Customization, held: Sequence[Prediction], asked: Asked
) -> Comparison | None:
    if stop is None:
        return None
    measured = _measured(made, held, 0, asked.prices, trial.candidate.technique)
    return stop(report(trial.name, measured, held, asked.scorers, asked.seed, asked.lacking))


def _ask(
    trial: Trial, model: Later, examples: Sequence[Example], asked: Asked, path: Path,
    made: Customization,
) -> list[Prediction]:  # fmt: skip
    what = f"{trial.name}: answer {path.stem}"
    path.parent.mkdir(parents=True, exist_ok=True)
    answers = predict(model, examples, asked.sampling, path, what, asked.batch, made.digest)
    return with_likeliest(answers, asked.scorers, lambda: model.model, path.parent, what)


def joined_over_seeds(
    trial: Trial, ones: Sequence[Tried], workspace: Workspace, asked: Asked
) -> Tried:
    """One candidate of those that differ in their seed; the first one's model is what is served."""
    first = ones[0]
    candidate = first.trial.candidate.model_copy(update={"name": trial.candidate.name})
    named = replace(first.trial, crossed=replace(trial.crossed, candidate=candidate))
    if first.stopped:
        stopped = replace(first.stopped, candidate=trial.name)
        held = replace(first.validation, candidate=trial.name)
        return replace(first, trial=named, validation=held, stopped=stopped)
    held = joined(trial.name, [one.validation for one in ones], asked.seed, asked.scorers)
    tests = [one.test for one in ones if one.test]
    file = f"validation/{trial.name}-{digest(held)[:12]}.json"
    save(held, workspace.root / file)
    test = joined(trial.name, tests, asked.seed, asked.scorers)
    return Tried(named, first.customization, test, held, file, first.sampling)


def _with_forgotten(
    found: Report, gate: Gate, made: Customization, model: Later, workspace: Workspace
) -> Report:
    """The report, with what the candidate's weights have lost of the base's ability."""
    from sartor.models.local_model import LocalModel

    def kept(of: str) -> Path:
        return workspace.folder("forgetting", f"{digest(of, gate.key)[:16]}.json")

    def results(of: str, load: Callable[[], Any]) -> Results:
        path = kept(of)
        return gate.results(None if path.is_file() else load(), path)

    before = results(made.base.revision, lambda: LocalModel(located(made, workspace.project).base))
    after = before
    if made.trainable_parameters:  # else its weights are the base's
        after = results(made.digest, lambda: innermost(model.model))
    forgotten = gate.forgotten(before, after)
    return replace(found, forgotten=forgotten, notes={**found.notes, "forgetting": told(forgotten)})


def _measured(
    made: Customization, tested: Sequence[Prediction], peak: int, prices: Cost, technique: str
) -> Measured:
    answers = [prediction.completion for prediction in tested]
    seconds = fmean(answer.seconds for answer in answers)
    if made.base.remote is not None:
        cost = remote_cost_per_answer(answers, made.base.remote, made.seconds, prices)
    else:
        cost = cost_per_answer(seconds, made.seconds, prices)
    cost += made.paid / prices.expected_requests
    return Measured(
        technique=technique,
        base=made.base.name,
        seconds_per_answer=seconds,
        cost_per_answer=cost,
        trainable_parameters=made.trainable_parameters,
        training_seconds=made.seconds,
        peak_memory_bytes=max(made.peak_memory, peak),
        training_cost=training_cost(made.seconds, prices) + made.paid,
        expected_requests=prices.expected_requests,
        serving_reach=serving_reach(answers, made.base.remote, prices),
    )
