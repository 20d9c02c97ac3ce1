"""A project from Python, through its whole journey: run, looked into, compared, asked.

    decision = Project.open("support").run()

Each call is one of a room's; what a run does is in steps.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sartor import candidates, elsewhere, judged_by, outcome, project, steps, tested
from sartor.customized import rebuild
from sartor.data.files import read_json
from sartor.data.records import Conversation, Message
from sartor.evaluation import history
from sartor.evaluation.compare import Difference, compare
from sartor.evaluation.forgetting import Gate
from sartor.evaluation.given import Given
from sartor.evaluation.records import Decision
from sartor.evaluation.scorer import Scorer
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.models.named import Names
from sartor.outcome import Outcome, write_export
from sartor.project import ProjectFile
from sartor.run_record import NotTried
from sartor.serving.release import Release, Releases, find_candidate
from sartor.trial import Trial
from sartor.workspace import Workspace


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
        return self.file.name_in(self.folder)

    def outcome(self) -> Outcome:
        """What the last run came to. Nothing is written; its page is in `html`."""
        return outcome.kept(self.workspace, self.file)

    def export(self, outcome: Outcome, form: str, path: Path | None = None) -> Path:
        """Write the report in another form: html, md, csv, model-card; where it was written."""
        return write_export(outcome, self.name, self.file.cost.currency, form, path)

    @property
    def candidates(self) -> Sequence[project.Candidate]:
        return self.file.customize.candidates

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
        return judged_by.scorers(self.workspace, self.file, self.names)

    def gate(self) -> Gate | None:
        """What must not be forgotten; SettingError for questions that cannot be read."""
        return judged_by.gate(self.workspace, self.file)

    def history(self) -> list[history.Run]:
        """Every run that came to a decision, oldest first."""
        return history.read(self.workspace.history)

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
        return elsewhere.take_in(self.workspace, self.file, given, predictions)

    def given(self) -> list[Given]:
        """Candidates whose answers were made elsewhere; one of the project's own goes before."""
        return elsewhere.taken_in(self.workspace, self.file)

    def release(self, candidate: str | None = None) -> Release:
        """What is served: the winner, or any other candidate by name."""
        if candidate is None:
            elsewhere.refuse_to_serve(self.workspace, self.file)
            return self.releases.current()
        return find_candidate(self.workspace.folder("candidates"), candidate)

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


def run(one: Project) -> Outcome:
    """Go through all steps of a project; one of several processes helps the first to train."""
    return steps.run(one.workspace, one.file, one.names)


def evaluate(one: Project) -> Outcome:
    """Evaluate and decide; ProjectError where a candidate has not been customized."""
    return steps.run(one.workspace, one.file, one.names, customize=False)


def bases(one: Project) -> dict[str, ModelCard]:
    """The card of every base, by its name in the project; nothing is loaded."""
    return steps.bases(one.file, one.names)


def last_decision(one: Project) -> dict[str, Any]:
    """decision.json as it stands."""
    return read_json(one.workspace.decision, dict[str, Any])
