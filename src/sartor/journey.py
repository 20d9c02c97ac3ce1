"""The journey: collect, prepare, choose, customize, evaluate, decide. What `sartor run` does.

Each step leaves its files under `.sartor/` and is not done again while what it was made from is the
same; a run that was killed goes on where it was. How a step works is its room's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from sartor import __version__, candidates, outcome, project, tested
from sartor.crossing import bases_of
from sartor.customized import rebuild, refuse_broken, source_digest
from sartor.data.files import digest, read_json, write_text
from sartor.data.prepare import Prepared
from sartor.data.records import Conversation, Message
from sartor.data_step import data_key, prepared_data
from sartor.descent import try_all
from sartor.errors import SartorError, ServingError
from sartor.evaluation import history
from sartor.evaluation.compare import Difference, compare
from sartor.evaluation.forgetting import Gate
from sartor.evaluation.given import Given, is_given, keep, kept, read_outputs, refuse_twin
from sartor.evaluation.lacking import Lacking
from sartor.evaluation.records import Decision, Report
from sartor.evaluation.report import report
from sartor.evaluation.scorer import Scorer
from sartor.models import remote
from sartor.models.devices import at_most
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.models.named import Names, open_model
from sartor.outcome import Outcome, write_export
from sartor.progress import say
from sartor.project import ProjectFile
from sartor.run_record import Made, NotTried
from sartor.serving.release import Release, Releases, find_candidate
from sartor.techniques import following
from sartor.tracking import tracker
from sartor.trial import Trial
from sartor.workspace import Workspace, complete, is_current, reopen

PRICES = {"input_price", "output_price"}


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
        """What the last run came to. Nothing is written; its page is in `html`."""
        return outcome.kept(self.workspace, self.file)

    def export(self, outcome: Outcome, form: str, path: Path | None = None) -> Path:
        """Write the report in another form: html, md, csv, model-card; where it was written."""
        return write_export(outcome, self.name, self.file.cost.currency, form, path)

    def trials(self) -> list[Trial]:
        """The candidates, with their techniques built: SettingError before anything is spent."""
        return candidates.trials(self.file)

    def left_out(self) -> tuple[NotTried, ...]:
        """Candidates that are passed over on a base, and why."""
        return candidates.left_out(self.file)

    @cached_property
    def names(self) -> Names:
        """What the names of models stand for."""
        return Names.of(self.folder, self.file)

    def scorers(self) -> list[Scorer]:
        """What answers are judged by; SettingError for one that is not there."""
        from sartor.evaluation.scorers.place import Place
        from sartor.evaluation.scorers.registry import load_scorers

        def base(name: str) -> LanguageModel:
            with self.names.in_use():
                return open_model(name)

        def revision(name: str) -> str:
            return self.names.card(name).revision

        kept = self.workspace.folder("judgements")
        place = Place(self.folder, base, kept, cache(revision))  # weights are read for it, once
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
            folder = self.workspace.folder("given")
            refuse_twin(folder, given.name)
            key = data_key(self.folder, self.file)
            split = prepared_data(self.workspace, self.file, key).split
            training = split.training
            others = {example.id for example in (*training.train, *training.validation)}
            outputs, passed = read_outputs(predictions, split.test, others)
            keep(folder, replace(given, outputs=outputs))
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
        made = release.customization
        if made.base.remote is not None and made.base.name in self.file.remote:
            now = self.names.card(made.base.name)  # its key, budget and limits may have changed
            made = replace(made, base=now if now.revision == made.base.revision else made.base)
        with self.names.in_use():
            return rebuild(recipe, made, self.folder)

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
    """Go through all steps of a project; one of several processes helps the first to train."""
    if following.follows():
        following.follow()
        return one.outcome()
    allowed = at_most(one.file.criteria.max_memory_gb)
    with following.leading(), one.workspace.locked(), one.names.in_use(), _tracked(one), allowed:
        trials = one.trials()
        scorers, gate = one.scorers(), one.gate()
        of_data, cards = data_key(one.folder, one.file), bases(one)
        candidates.refuse_impossible(trials, cards)
        key = _key(one, of_data, cards, scorers, trials)
        key = digest(key, gate.key) if gate else key
        if is_current(one.workspace.root, key) and (unchanged := _unchanged(one)):
            write_text(unchanged.page, unchanged.html)
            say("nothing has changed since the last run: nothing to do")
            return unchanged
        reopen(one.workspace.root)
        prepared = prepared_data(one.workspace, one.file, of_data)
        project.refuse_impossible(one.file, prepared.counts["documents"])
        for trial in trials:
            trial.refuse_data(prepared.split.training, cards[trial.base])
        if not customize:
            candidates.refuse_uncustomized(trials, cards, prepared, one.workspace)
        lacking = Lacking(one.file.criteria.scorer)
        found = try_all(one.file, one.workspace, trials, cards, prepared, scorers, gate, lacking)
        not_tried = (*one.left_out(), *found.not_tried)
        made = Made(key, of_data, tuple(found.failures), not_tried)
        given = _judged(one, prepared, scorers, lacking)
        decided = outcome.leave(one.workspace, one.file, prepared, found.tried, made, given)
        _tell_what_was_paid(one, cards)
        if not found.failures and not lacking.notes:
            complete(one.workspace.root, key)
        return decided


def _tell_what_was_paid(one: Project, cards: Mapping[str, ModelCard]) -> None:
    for name, card in cards.items():
        if card.remote is not None and card.remote.price(1, 1):
            budget = f" of a budget of {card.remote.budget:g}" if card.remote.budget else ""
            say(f"{name}: {remote.paid(card):.4g} {one.file.cost.currency} paid so far{budget}")


def _tracked(one: Project) -> AbstractContextManager[None]:
    """Send figures of training where [tracking] says."""
    wanted = one.file.tracking.model_dump()
    return tracker.recorded_by(tracker.opened(wanted, one.folder, one.name))


def _unchanged(one: Project) -> Outcome | None:
    """The last run's outcome; None where what it left is not whole."""
    try:
        found = outcome.kept(one.workspace, one.file)
        ours = [each.candidate for each in found.reports if not is_given(each)]
        if found.decision.winner in ours:
            one.releases.current()
        for name in ours:
            refuse_broken(one.release(name).customization, one.folder)
    except SartorError as error:
        say(f"what the last run left is not whole, and is made again: {error}")
        return None
    return found


def choose(one: Project) -> ModelCard:
    """The card of the base, of the first of several; nothing is loaded."""
    return one.names.card(bases_of(one.file)[0])


def bases(one: Project) -> dict[str, ModelCard]:
    """The card of every base, by its name in the project, in the project's order."""
    cards = {name: one.names.card(name) for name in bases_of(one.file)}
    sizes = [cards[n].parameters for n in one.file.model.names if n in cards]
    if one.file.model.ladder and all(sizes) and sizes != sorted(sizes, reverse=True):
        say(
            "[model] bases is a ladder, and is not in the order of size: gone down as it is written"
        )
    return cards


def _key(
    one: Project, of_data: str, cards: Mapping[str, ModelCard],
    scorers: Sequence[Scorer], trials: Sequence[Trial],
) -> str:  # fmt: skip
    """Of a remote model what its answers depend on counts, and its prices; not its budget, say."""
    file = one.file.model_dump(exclude={"data", "project", "remote", "tracking"})
    own: list[Any] = [source_digest(scorer) for scorer in scorers]
    own += one.given()
    own += [trial.sources() for trial in trials]
    revisions = [card.revision for card in cards.values()]
    revisions += [one.names.card(name).revision for name in sorted(one.file.remote)]
    prices = [each.model_dump(include=PRICES) for each in one.file.remote.values()]
    return digest(__version__, of_data, revisions, prices, file, own)


def _judged(
    one: Project, prepared: Prepared, scorers: Sequence[Scorer], lacking: Lacking
) -> list[Report]:
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
        answers, seed = given.predictions(test), one.file.project.seed
        found.append(report(given.name, given.measured, answers, scorers, seed, lacking))
    return found


def last_decision(one: Project) -> dict[str, Any]:
    """decision.json as it stands."""
    return read_json(one.workspace.decision, dict[str, Any])
