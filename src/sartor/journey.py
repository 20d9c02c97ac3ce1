"""The journey: collect, prepare, choose, customize, evaluate, decide. What `sartor run` does.

Each step leaves its files under `.sartor/` and is not done again while what it was made from is the
same; a run that was killed goes on where it was. How a step works is its room's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from sartor import __version__, outcome, project, tested
from sartor.data import prepared_files
from sartor.data.collect import collect
from sartor.data.files import digest, read_json
from sartor.data.prepare import Preparation, Prepared, prepare
from sartor.data.records import Conversation, Message
from sartor.data.sources import fingerprint
from sartor.errors import DataError, ModelError, ProjectError, SartorError, ServingError
from sartor.evaluation import history
from sartor.evaluation.compare import Difference, compare
from sartor.evaluation.given import Given, keep, kept, read_outputs
from sartor.evaluation.records import Comparison, Decision, Report
from sartor.evaluation.report import report
from sartor.evaluation.scorer import Scorer
from sartor.evaluation.stopping import hopeless
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.outcome import Made, Outcome, write_export
from sartor.progress import say
from sartor.project import ProjectFile
from sartor.serving.release import Release, Releases, find_candidate
from sartor.trial import (
    RECORD,
    Asked,
    Training,
    Trial,
    Tried,
    card_of,
    joined_over_seeds,
    rebuild,
    refuse_broken,
    source_digest,
)
from sartor.workspace import Workspace, complete, is_current, reopen

OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")


class Project:
    """A folder with a sartor.toml, and what was made of it."""

    def __init__(self, folder: Path, file: ProjectFile) -> None:
        self.folder = folder
        self.file = file
        self.workspace = Workspace(folder)
        self.releases = Releases(self.workspace.folder("releases"))

    @classmethod
    def open(cls, folder: str | Path = ".") -> Project:
        """The project in `folder`; ProjectError says what is wrong with its file, and where."""
        path = Path(folder).expanduser().resolve()
        return cls(path, project.read(path))

    def run(self) -> Decision:
        """Go through all steps, and decide; steps that are done already are not done again."""
        return run(self).decision

    @property
    def name(self) -> str:
        """As reports and the server call it."""
        return self.file.project.name or self.folder.name

    def outcome(self) -> Outcome:
        """What the last run came to; its page is written anew."""
        return outcome.kept(self.workspace, self.file)

    def export(self, outcome: Outcome, form: str, path: Path | None = None) -> Path:
        """Write the report in another form: html, md, csv, model-card; where it was written."""
        return write_export(outcome, self.name, self.file.cost.currency, form, path)

    def trials(self) -> list[Trial]:
        """The candidates, with their techniques built: SettingError before anything is spent."""
        defaults = self.file.techniques
        named = {part.strip() for c in self.candidates for part in c.technique.split("+")}
        for unused in defaults.keys() - named:
            raise ProjectError(
                f"[techniques.{unused}] is not used by any candidate; they are: "
                f"{', '.join(sorted(named))}. Correct its name, or remove it."
            )
        return [Trial.of(c, defaults, self.file.project.seed) for c in self.candidates]

    def refuse_impossible(self, trials: Sequence[Trial], base: ModelCard) -> None:
        """ModelError where a candidate cannot work on this base or machine: before any is tried."""
        for trial in trials:
            trial.refuse(base)

    def scorers(self) -> list[Scorer]:
        """What answers are judged by; SettingError for one that is not there."""
        from sartor.evaluation.scorers.registry import load_scorer

        wanted = (*self.file.evaluate.scorers, self.file.criteria.scorer)
        return [load_scorer(name) for name in dict.fromkeys(wanted)]

    @property
    def candidates(self) -> Sequence[project.Candidate]:
        return self.file.customize.candidates

    def history(self) -> list[history.Run]:
        """Every run that came to a decision, oldest first."""
        return history.read(self.workspace.root / "history.jsonl")

    def compare(
        self, a: str, b: str, scorer: str | None = None, margin: float | None = None
    ) -> Difference:
        """A against B on the test part; tested.py says how candidates, runs, releases are named."""
        criteria = self.file.criteria
        return compare(
            tested.find(self.workspace, a),
            tested.find(self.workspace, b),
            scorer or criteria.scorer,
            criteria.margin if margin is None else margin,
            self.file.project.seed,
        )

    def give(self, given: Given, predictions: Path) -> int:
        """Take answers made elsewhere as a candidate; how many were not to the test part."""
        project.refuse_name(given.name, self.candidates)
        with self.workspace.locked():
            split = _prepared(self, _data_key(self)).split
            training = split.training
            others = {example.id for example in (*training.train, *training.validation)}
            outputs, passed = read_outputs(predictions, split.test, others)
            keep(self.workspace.folder("given"), replace(given, outputs=outputs))
        return passed

    def given(self) -> list[Given]:
        """Candidates whose answers were made elsewhere; one of the project's own goes before."""
        names = {candidate.name.lower() for candidate in self.candidates}
        everyone = kept(self.workspace.folder("given"))
        return [one for one in everyone if one.name.lower() not in names]

    def release(self, candidate: str | None = None) -> Release:
        """What is served: the winner, or any other candidate by name."""
        if candidate is None:
            self._refuse_given()
            return self.releases.current()
        return find_candidate(self.workspace.folder("candidates"), candidate)

    def _refuse_given(self) -> None:
        """ServingError where the winner's answers were made elsewhere."""
        if not self.workspace.decision.is_file():
            return
        winner = last_decision(self).get("winner")
        if winner in {given.name for given in self.given()}:
            raise ServingError(
                f"the winner, {winner}, answered elsewhere: nothing of it is here to serve. Serve "
                "it where it is, or name another with --candidate."
            )

    def model(self, candidate: str | None = None) -> LanguageModel:
        """The winner as it was evaluated, whole: prompt, index and weights."""
        release = self.release(candidate)
        recipe = {k: release.settings[k] for k in ("technique", "settings", "defaults")}
        return rebuild(recipe, release.customization, self.folder)

    def ask(self, question: str, candidate: str | None = None) -> Completion:
        """One answer of the winner."""
        conversation: Conversation = (Message("user", question),)
        sampling = Sampling(**self.release(candidate).settings["sampling"])
        [answer] = self.model(candidate).generate([conversation], sampling)
        return answer


def evaluate(one: Project) -> Outcome:
    """Evaluate and decide; ProjectError where a candidate has not been customized."""
    return run(one, customize=False)


def run(one: Project, customize: bool = True) -> Outcome:
    """Go through all steps of a project."""
    with one.workspace.locked():
        trials = one.trials()
        scorers = one.scorers()
        data_key, card = _data_key(one), choose(one)
        one.refuse_impossible(trials, card)
        key = _key(one, data_key, card, scorers, trials)
        if is_current(one.workspace.root, key) and (unchanged := _unchanged(one, trials)):
            say("nothing has changed since the last run: nothing to do")
            return unchanged
        reopen(one.workspace.root)
        prepared = _prepared(one, data_key)
        project.refuse_impossible(one.file, prepared.counts["documents"])
        asked = _asked(one, card, prepared, scorers)
        if not customize:
            _refuse_uncustomized(one, trials, card, prepared)
        tried, failures = _try_all(one, trials, card, prepared, asked)
        made = Made(key, data_key, tuple(failures), asked.sampling)
        given = _judged(one, prepared, asked)
        decided = outcome.leave(one.workspace, one.file, prepared, tried, made, given)
        if not failures:
            complete(one.workspace.root, key)
        return decided


def _unchanged(one: Project, trials: Sequence[Trial]) -> Outcome | None:
    """The last run's outcome; None where what it left is not whole."""
    try:
        found = outcome.kept(one.workspace, one.file)
        if found.decision.winner in {trial.name for trial in trials}:
            one.releases.current()
        for trial in trials:
            refuse_broken(one.release(trial.name).customization, one.folder)
    except SartorError as error:
        say(f"what the last run left is not whole, and is made again: {error}")
        return None
    return found


def choose(one: Project) -> ModelCard:
    """The base model's card; nothing is loaded."""
    chosen = one.file.model
    return card_of(chosen.base, one.folder, trust_remote_code=chosen.trust_remote_code)


def _data_key(one: Project) -> str:
    """Digest of what the data step is made from: the files, and how they are divided."""
    data = one.file.data
    files = fingerprint(one.folder, data.documents, data.examples)
    return digest(__version__, files, data.model_dump(), one.file.project.seed)


def _key(
    one: Project, data_key: str, card: ModelCard,
    scorers: Sequence[Scorer], trials: Sequence[Trial],
) -> str:  # fmt: skip
    file = one.file.model_dump(exclude={"data", "project"})
    own: list[Any] = [source_digest(scorer) for scorer in scorers]
    own += one.given()
    own += [source_digest(trial.technique) for trial in trials]
    return digest(__version__, data_key, card.revision, file, own)


def _prepared(one: Project, data_key: str) -> Prepared:
    """Collect and prepare, unless that was done from the same files and settings."""
    folder = one.workspace.folder("data")
    if is_current(folder, data_key):
        try:
            found = prepared_files.load(folder)
        except DataError as error:
            say(f"data: made again: {error}")
        else:
            say("data: unchanged")
            return found
    reopen(folder)
    prepared = collected_and_prepared(one)
    prepared_files.save(prepared, folder)
    complete(folder, data_key)
    for warning in prepared.warnings:
        say(f"data: {warning}")
    return prepared


def collected_and_prepared(one: Project) -> Prepared:
    """The data as a run would have it; nothing is written."""
    data = one.file.data
    division = data.model_dump(exclude={"documents", "examples"})
    return prepare(
        collect(one.folder, data.documents, data.examples),
        Preparation(**division, seed=one.file.project.seed),
    )


def _asked(one: Project, card: ModelCard, prepared: Prepared, scorers: Sequence[Scorer]) -> Asked:
    from sartor.evaluation.sampling import sampling_for
    from sartor.models.local import load_tokenizer

    wanted, seed = one.file.evaluate, one.file.project.seed
    train = prepared.split.training.train
    return Asked(
        sampling=sampling_for(load_tokenizer(card), train, wanted.max_new_tokens, seed),
        scorers=tuple(scorers),
        batch=wanted.batch_size,
        prices=one.file.cost,
        seed=seed,
    )


def _try_all(
    one: Project, trials: Sequence[Trial], card: ModelCard, prepared: Prepared, asked: Asked
) -> tuple[list[Tried], list[str]]:
    """Every candidate customized and evaluated; those that failed, and why."""
    tried: list[Tried] = []
    failures = []
    training = Training.of(prepared.split.training)

    def gate(report: Report) -> Comparison | None:
        before, criteria = [each.validation for each in tried], one.file.criteria
        return hopeless(report, before, criteria.scorer, criteria.margin, asked.seed)

    def attempt(trial: Trial, stoppable: bool) -> Tried:
        made = trial.customize(card, training, one.workspace)
        stop = gate if stoppable and one.file.evaluate.stop_hopeless else None
        return trial.evaluate(made, prepared.split, asked, one.workspace, stop)

    for number, trial in enumerate(trials, 1):
        say(f"candidate {number} of {len(trials)}: {trial.name}")
        try:
            tried.append(_over_seeds(trial, attempt, one.workspace, asked.seed))
        except (ModelError, DataError, MemoryError, RuntimeError) as error:
            failures.append(f"{trial.name} failed: {_told(error)}")
            say(failures[-1])
    return tried, failures


def _over_seeds(
    trial: Trial, attempt: Callable[[Trial, bool], Tried], workspace: Workspace, seed: int
) -> Tried:
    """The candidate tried once with each of its seeds, and joined; the first may be stopped."""
    seeds = trial.candidate.seeds
    if not seeds:
        return attempt(trial, True)
    ones = [attempt(trial.seeded(seeds[0]), True)]
    if not ones[0].stopped:
        ones += [attempt(trial.seeded(other), False) for other in seeds[1:]]
    return joined_over_seeds(trial, ones, workspace, seed)


def _judged(one: Project, prepared: Prepared, asked: Asked) -> list[Report]:
    """Reports of answers made elsewhere; those that do not cover the test part are told of."""
    found = []
    for given in one.given():
        test = prepared.split.test
        if missing := given.missing(test):
            say(
                f"{given.name} is left out: it answers {len(test) - len(missing):,} of "
                f"{len(test):,} test examples. Give its answers again with `sartor evaluate`."
            )
            continue
        answers = given.predictions(test)
        found.append(report(given.name, given.measured, answers, asked.scorers, asked.seed))
    return found


def _refuse_uncustomized(
    one: Project, trials: Sequence[Trial], card: ModelCard, prepared: Prepared
) -> None:
    """ProjectError where an evaluation would have to customize first."""
    training = Training.of(prepared.split.training)
    every = [
        each
        for trial in trials
        for each in [trial.seeded(seed) for seed in trial.candidate.seeds] or [trial]
    ]
    lacking = [
        each.name
        for each in every
        if not (each.folder(card, training, one.workspace) / RECORD).is_file()
    ]
    if lacking:
        raise ProjectError(
            f"not customized yet, or changed since: {', '.join(lacking)}. `sartor evaluate` spends "
            f"nothing on training; run `sartor run {quote(str(one.folder))}` first."
        )


def _told(error: Exception) -> str:
    """The failure in a sentence; what is not a known way to fail is a fault of ours, and raised."""
    if isinstance(error, SartorError) and not isinstance(error.__cause__, OSError):
        return str(error)
    if type(error).__name__ in OUT_OF_MEMORY or "can't allocate memory" in str(error):
        return (
            "out of memory. Lower pack_tokens or [evaluate] batch_size, take a smaller base, or "
            "leave this candidate out."
        )
    raise error


def last_decision(one: Project) -> dict[str, Any]:
    """decision.json as it stands."""
    return read_json(one.workspace.decision, dict[str, Any])
