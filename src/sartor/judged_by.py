"""What answers are judged by, as the project file has it: scorers, and what must not be forgotten.

What is wrong with either is told before anything is spent.
"""

from __future__ import annotations

from functools import cache

from sartor.evaluation.forgetting import Gate
from sartor.evaluation.scorer import Scorer
from sartor.models.language_model import LanguageModel
from sartor.models.named import Names, open_model
from sartor.project import ProjectFile
from sartor.workspace import Workspace


def scorers(workspace: Workspace, file: ProjectFile, names: Names) -> list[Scorer]:
    """Those that are named; SettingError for one that is not there."""
    from sartor.evaluation.scorers.place import Place
    from sartor.evaluation.scorers.registry import load_scorers

    def base(name: str) -> LanguageModel:
        with names.in_use():
            return open_model(name)

    def revision(name: str) -> str:
        return names.card(name).revision

    kept = workspace.folder("judgements")
    place = Place(workspace.project, base, kept, cache(revision))  # weights are read for it, once
    return load_scorers((*file.evaluate.scorers, file.criteria.scorer), file.scorers, place)


def gate(workspace: Workspace, file: ProjectFile) -> Gate | None:
    """What must not be forgotten; SettingError for questions that cannot be read."""
    wanted = file.forgetting
    if not wanted.tasks:
        return None
    found = Gate(workspace.project, wanted.tasks, wanted.task_folder, wanted.limit, wanted.max_loss)
    found.check()
    return found
