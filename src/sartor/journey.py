"""The journey: collect, prepare, choose, customize, evaluate, decide. What `sartor run` does.

Each step leaves its files under `.sartor/` and is not done again while what it was made from is the
same; a run that was killed goes on where it was. How a step works is its room's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sartor import __version__, outcome, project
from sartor.data import prepared_files
from sartor.data.collect import collect
from sartor.data.files import digest, read_json
from sartor.data.prepare import Preparation, Prepared, prepare
from sartor.data.records import Conversation, Message
from sartor.data.sources import fingerprint
from sartor.errors import DataError, ModelError, ProjectError, SartorError
from sartor.evaluation import history
from sartor.evaluation.forgetting import Gate
from sartor.evaluation.records import Decision
from sartor.evaluation.scorer import Scorer
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.outcome import Made, Outcome
from sartor.progress import say
from sartor.project import ProjectFile
from sartor.serving.release import Release, Releases, find_candidate
from sartor.trial import (
    Asked,
    Training,
    Trial,
    Tried,
    card_of,
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
        from sartor.evaluation.scorers.place import Place
        from sartor.evaluation.scorers.registry import load_scorers

        def base(name: str) -> LanguageModel:
            from sartor.models.local_model import LocalModel

            return LocalModel(card_of(name, self.folder, trust_remote_code=False))

        place = Place(self.folder, base, self.workspace.folder("judgements"))
        wanted = (*self.file.evaluate.scorers, self.file.criteria.scorer)
        return load_scorers(wanted, self.file.scorers, place)

    def gate(self) -> Gate | None:
        """What must not be forgotten; SettingError for questions that cannot be read."""
        wanted = self.file.forgetting
        if not wanted.tasks:
            return None
        gate = Gate(self.folder, wanted.tasks, wanted.task_folder, wanted.limit, wanted.max_loss)
        gate.check()
        return gate

    @property
    def candidates(self) -> Sequence[project.Candidate]:
        return self.file.customize.candidates

    def history(self) -> list[history.Run]:
        """Every run that came to a decision, oldest first."""
        return history.read(self.workspace.root / "history.jsonl")

    def release(self, candidate: str | None = None) -> Release:
        """What is served: the winner, or any other candidate by name."""
        if candidate is None:
            return self.releases.current()
        return find_candidate(self.workspace.folder("candidates"), candidate)

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


def run(one: Project) -> Outcome:
    """Go through all steps of a project."""
    with one.workspace.locked():
        trials = one.trials()
        scorers, gate = one.scorers(), one.gate()
        data_key, card = _data_key(one), choose(one)
        one.refuse_impossible(trials, card)
        key = _key(one, data_key, card, scorers, trials)
        key = digest(key, gate.key) if gate else key
        if is_current(one.workspace.root, key) and (unchanged := _unchanged(one, trials)):
            say("nothing has changed since the last run: nothing to do")
            return unchanged
        reopen(one.workspace.root)
        prepared = _prepared(one, data_key)
        project.refuse_impossible(one.file, prepared.counts["documents"])
        asked = _asked(one, card, prepared, scorers)
        tried, failures = _try_all(one, trials, card, prepared, asked)
        made = Made(key, data_key, tuple(failures), asked.sampling)
        decided = outcome.leave(one.workspace, one.file, prepared, tried, made)
        if not failures:
            complete(one.workspace.root, key)
        return decided


def _unchanged(one: Project, trials: Sequence[Trial]) -> Outcome | None:
    """The last run's outcome; None where what it left is not whole."""
    try:
        found = outcome.kept(one.workspace, one.file)
        if found.decision.winner:
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
    own = [source_digest(scorer) for scorer in scorers]
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
        gate=one.gate(),
    )


def _try_all(
    one: Project, trials: Sequence[Trial], card: ModelCard, prepared: Prepared, asked: Asked
) -> tuple[list[Tried], list[str]]:
    """Every candidate customized and evaluated; those that failed, and why."""
    tried, failures = [], []
    training = Training.of(prepared.split.training)
    for number, trial in enumerate(trials, 1):
        say(f"candidate {number} of {len(trials)}: {trial.name}")
        try:
            made = trial.customize(card, training, one.workspace)
            tried.append(trial.evaluate(made, prepared.split, asked, one.workspace))
        except (ModelError, DataError, MemoryError, RuntimeError) as error:
            failures.append(f"{trial.name} failed: {_told(error)}")
            say(failures[-1])
    return tried, failures


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
