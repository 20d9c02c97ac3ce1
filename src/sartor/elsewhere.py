"""Candidates whose answers were made elsewhere: taken in, and judged with the project's own.

How their files are read and kept is evaluation/given.py's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartor.data.files import read_json
from sartor.data.prepare import Prepared
from sartor.data_step import data_key, prepared_data
from sartor.errors import ServingError
from sartor.evaluation.given import Given, keep, kept, read_outputs, refuse_twin
from sartor.evaluation.lacking import Lacking
from sartor.evaluation.records import Report
from sartor.evaluation.report import report
from sartor.evaluation.scorer import Scorer
from sartor.progress import say
from sartor.project import ProjectFile, refuse_name
from sartor.workspace import Workspace


def take_in(workspace: Workspace, file: ProjectFile, given: Given, predictions: Path) -> int:
    """Keep answers as a candidate's; how many were passed over, being not to the test part."""
    refuse_name(given.name, file.customize.candidates)
    with workspace.locked():
        folder = _folder(workspace)
        refuse_twin(folder, given.name)
        split = prepared_data(workspace, file, data_key(workspace.project, file)).split
        training = split.training
        others = {example.id for example in (*training.train, *training.validation)}
        outputs, passed = read_outputs(predictions, split.test, others)
        keep(folder, replace(given, outputs=outputs))
    return passed


def taken_in(workspace: Workspace, file: ProjectFile) -> list[Given]:
    """All of them; one of the project's own goes before one of its name."""
    names = {candidate.name.lower() for candidate in file.customize.candidates}
    return [one for one in kept(_folder(workspace)) if one.name.lower() not in names]


def judged(
    workspace: Workspace, file: ProjectFile, prepared: Prepared, scorers: Sequence[Scorer],
    lacking: Lacking,
) -> list[Report]:  # fmt: skip
    """A report of each; those that do not cover the test part are told of."""
    found = []
    for given in taken_in(workspace, file):
        test = prepared.split.test
        if missing := given.missing(test):
            say(
                f"{given.name} is left out: it answers {len(test) - len(missing):,} of "
                f"{len(test):,} test examples. Give its answers again with `sartor evaluate`."
            )
            continue
        answers, seed = given.predictions(test), file.project.seed
        found.append(report(given.name, given.measured, answers, scorers, seed, lacking))
    return found


def refuse_to_serve(workspace: Workspace, file: ProjectFile) -> None:
    """ServingError where the winner is one of them."""
    if not workspace.decision.is_file():
        return
    winner = read_json(workspace.decision, dict[str, Any]).get("winner")
    if winner in {given.name for given in taken_in(workspace, file)}:
        raise ServingError(
            f"the winner, {winner}, answered elsewhere: nothing of it is here to serve. Serve "
            "it where it is, or name another with --candidate."
        )


def _folder(workspace: Workspace) -> Path:
    return workspace.folder("given")
