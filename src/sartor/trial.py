"""A trial: one candidate on one base, customized, asked, and scored. Each part is kept, and not
made twice.

    customizations/<candidate>-<key>/     what `fit` made; files.json and customization.json last
    answers/<candidate>-<digest>/         test.jsonl, validation.jsonl, measured.json
    validation/<candidate>-<digest>.json  the report on validation, for the history

A folder is named by the digest of what it was made from, its base included, so a changed candidate
makes new ones, and going back to earlier settings, or to fewer bases, finds the old. Of the data a
customization is made from what its technique reads: documents only where it reads documents.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from sartor import __version__
from sartor.answering_memory import Memory
from sartor.crossing import Crossed
from sartor.customized import RECORD, keep, located, paid_before, refuse_broken, source_digest
from sartor.data.files import digest, read_json
from sartor.data.records import Example, Split, TrainingData
from sartor.errors import DataError, ModelError, SettingError
from sartor.evaluation.cost import cost_per_answer, remote_cost_per_answer, training_cost
from sartor.evaluation.forgetting import Gate, Results, told
from sartor.evaluation.lacking import Lacking
from sartor.evaluation.likeliest import with_likeliest
from sartor.evaluation.predict import predict
from sartor.evaluation.records import Comparison, Measured, Prediction, Report
from sartor.evaluation.report import report, save
from sartor.evaluation.scorer import Scorer
from sartor.evaluation.seeds import joined
from sartor.evaluation.timing import serving_reach
from sartor.models.language_model import ModelCard, Sampling
from sartor.models.named import card_named, paid_so_far
from sartor.progress import say
from sartor.project import Candidate, Cost
from sartor.settings import settings_of
from sartor.techniques.asked import Later
from sartor.techniques.drawn import layers
from sartor.techniques.fitting import refuse_data_too_large, refuse_too_large
from sartor.techniques.registry import build, spelled_out
from sartor.techniques.technique import Customization, Technique
from sartor.techniques.wrapping import innermost
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


@dataclass(frozen=True)
class Trial:
    """A candidate of the project file on one of its bases, with its technique built."""

    crossed: Crossed
    technique: Technique
    defaults: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, crossed: Crossed, defaults: dict[str, dict[str, Any]], seed: int) -> Trial:
        """Build the technique; the project's seed is its seed unless it names one."""
        candidate = crossed.candidate
        seeded = _seeded(candidate.technique, defaults, seed)
        return cls(crossed, build(candidate.technique, candidate.settings, seeded), seeded)

    @property
    def candidate(self) -> Candidate:
        return self.crossed.candidate

    def seeded(self, seed: int) -> Trial:
        """The same candidate trained with another seed; SettingError where it takes none."""
        defaults = {
            name: {key: value for key, value in given.items() if key != "seed"}
            for name, given in self.defaults.items()
        }
        given = {key: value for key, value in self.candidate.settings.items() if key != "seed"}
        own = self.candidate
        one = Candidate(
            name=f"{own.name}.seed{seed}", technique=own.technique, base=own.base, **given
        )
        named = replace(self.crossed, candidate=one, name=f"{self.name}.seed{seed}")
        made = Trial.of(named, defaults, seed)
        if not any("seed" in given for given in made.defaults.values()):
            raise SettingError(
                f"{self.name}: seeds were given, and {self.candidate.technique} takes no seed: "
                "it comes out the same each time. Leave `seeds` out."
            )
        return made

    @property
    def name(self) -> str:
        """As reports and releases have it: with its base, where the project has several."""
        return self.crossed.name

    @property
    def base(self) -> str:
        """As the project writes it."""
        return self.crossed.base

    @property
    def recipe(self) -> dict[str, Any]:
        """What `rebuild` makes the technique from."""
        return {
            "technique": self.candidate.technique,
            "settings": self.candidate.settings,
            "defaults": self.defaults,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the technique, defaults included."""
        return settings_of(self.technique)

    def needs_weights(self) -> str:
        """The technique in it that cannot work on a remote model; empty where there is none."""
        needy = (one.name for one in layers(self.technique) if getattr(one, "needs_weights", False))
        return next(needy, "")

    def refuse(self, base: ModelCard) -> None:
        """ModelError where the technique, or one inside it, says that it cannot work here."""
        if base.remote is not None and (needy := self.needs_weights()):
            raise ModelError(
                f"{self.name}: {needy} trains weights, and base {base.name!r} is a remote model, "
                "whose weights are not here. Try zero-shot, few-shot or rag on it, or give this "
                'candidate another base: { technique = "...", base = "..." }'
            )
        for layer in layers(self.technique):
            if hasattr(layer, "refuse"):
                layer.refuse(base)
        if base.remote is None:
            refuse_too_large(self.technique, base)

    def sources(self) -> str:
        """Of what the technique, and those inside it, are made of beside settings and data."""
        return "".join(source_digest(layer) for layer in layers(self.technique))

    def _asks(self) -> list[str]:
        """Revisions of the other models whose answers the technique learns from."""
        named = (name for layer in layers(self.technique) for name in getattr(layer, "asks", ()))
        return [card_named(name).revision for name in named]

    def refuse_data(self, data: TrainingData, base: ModelCard | None = None) -> None:
        """DataError where the technique, or one inside it, says that it needs other examples;
        ModelError where training `base` on these would clearly not fit this machine."""
        for layer in layers(self.technique):
            if hasattr(layer, "refuse_data"):
                layer.refuse_data(data)
        if base is not None and base.remote is None:
            refuse_data_too_large(self.technique, base, data)

    def customize(self, base: ModelCard, training: Training, workspace: Workspace) -> Customization:
        """Fit, unless that was done; its folder is named relative to the project."""
        folder = self.folder(base, training, workspace)
        record = folder / RECORD
        if record.is_file():
            try:
                made = read_json(record, Customization)
                refuse_broken(made, workspace.project)
            except DataError as error:
                say(f"{self.name}: made again: {error}")
                shutil.rmtree(folder)
            else:
                return replace(made, base=base)
        folder.mkdir(parents=True, exist_ok=True)
        before = paid_before(folder)
        made = self.technique.fit(base, training.data, folder)
        made = replace(
            made,
            directory=str(folder.relative_to(workspace.project)),
            paid=paid_so_far() - before,
        )
        keep(made, folder)
        return made

    def folder(self, base: ModelCard, training: Training, workspace: Workspace) -> Path:
        """Where its customization is, or would be, kept."""
        made_of = (self.recipe["technique"], self.settings, self.sources())
        others = self._asks()
        key = digest(__version__, made_of, base.revision, training.read_by(self.technique), *others)
        return workspace.folder("customizations", f"{self.candidate.name}-{key[:12]}")

    def evaluate(
        self, made: Customization, split: Split, asked: Asked, workspace: Workspace,
        stop: Stop | None = None,
    ) -> Tried:  # fmt: skip
        """Ask it the validation part and, unless it is stopped there, the test part; score."""
        examples = (*split.training.validation, *split.test)
        key = digest(made.digest, asked.sampling, [(e.id, e.input) for e in examples])
        name = f"{self.candidate.name}-{key[:12]}"
        folder = workspace.folder("answers", name)
        model = Later(partial(self.technique.load, located(made, workspace.project)))
        with Memory(folder / "measured.json", model) as memory:
            validation, test = split.training.validation, split.test
            held = self._ask(model, validation, asked, folder / "validation.jsonl", made)
            stopped = self._stopped(stop, made, held, asked)
            tested = [] if stopped else self._ask(model, test, asked, folder / "test.jsonl", made)
        seen = tested or held
        measured = _measured(made, seen, memory.peak, asked.prices, self.candidate.technique)
        kept = f"validation/{name}.json"
        on_validation = report(self.name, measured, held, asked.scorers, asked.seed, asked.lacking)
        save(on_validation, workspace.root / kept)
        if stopped:
            return Tried(self, made, None, on_validation, kept, asked.sampling, stopped)
        on_test = report(self.name, measured, tested, asked.scorers, asked.seed, asked.lacking)
        if asked.gate and made.base.remote is None:
            on_test = _with_forgotten(on_test, asked.gate, made, model, workspace)
        return Tried(self, made, on_test, on_validation, kept, asked.sampling)

    def _stopped(
        self, stop: Stop | None, made: Customization, held: Sequence[Prediction], asked: Asked
    ) -> Comparison | None:
        if stop is None:
            return None
        measured = _measured(made, held, 0, asked.prices, self.candidate.technique)
        return stop(report(self.name, measured, held, asked.scorers, asked.seed, asked.lacking))

    def _ask(
        self, model: Later, examples: Sequence[Example], asked: Asked, path: Path,
        made: Customization,
    ) -> list[Prediction]:  # fmt: skip
        what = f"{self.name}: answer {path.stem}"
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


@dataclass(frozen=True)
class Training:
    """What techniques may learn from, with digests of its parts."""

    data: TrainingData
    examples: str
    documents: str

    @classmethod
    def of(cls, data: TrainingData) -> Training:
        examples = digest(data.train, data.validation, data.disliked)
        return cls(data, examples, digest(data.documents))

    def read_by(self, technique: Any) -> tuple[str, str]:
        """Digests of what a technique, and those inside it, are made from."""
        while technique is not None:
            if getattr(technique, "reads_documents", True):
                return self.examples, self.documents
            technique = getattr(technique, "inner", None)
        return self.examples, ""


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


def _seeded(
    technique: str, defaults: dict[str, dict[str, Any]], seed: int
) -> dict[str, dict[str, Any]]:
    """Settings of each technique named, with the seed where the technique takes one."""
    from dataclasses import fields

    seeded = dict(defaults)
    for name in spelled_out(technique):
        kind = build(name)
        if any(field.name == "seed" for field in fields(kind)):  # type: ignore[arg-type]
            seeded[name] = {"seed": seed, **defaults.get(name, {})}
    return {name: seeded[name] for name in sorted(seeded)}


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
