"""A candidate's report on the test part, by what people call it: as it is, as it was, as released.

    lora          of the last run
    lora@run3     of run 3 in `sartor history`
    release:2     of the candidate that release 2 was made from

Every run's reports are kept under `.sartor/tested/`, named by what is in them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

from sartor.data.files import digest, read_rows
from sartor.errors import DataError, ProjectError
from sartor.evaluation import history, report
from sartor.evaluation.records import Report
from sartor.serving.release import Releases
from sartor.workspace import Workspace

FOLDER = "tested"


def keep(workspace: Workspace, one: Report) -> str:
    """Keep a report beyond the next run; where, inside the workspace."""
    name = f"{FOLDER}/{one.candidate}-{digest(one)[:12]}.json"
    if not (workspace.root / name).is_file():
        report.save(one, workspace.root / name)
    return name


def copy(workspace: Workspace, kept: str, path: Path) -> None:
    """Put a kept report where the last run's are; atomic."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.copy")
    shutil.copyfile(workspace.root / kept, beside)
    beside.replace(path)


def find(workspace: Workspace, named: str) -> Report:
    """The report of that name, called as it was asked for."""
    runs = read_history(workspace)
    if number := re.fullmatch(r"release:(\d+)", named):
        run, entry = _released(workspace, runs, int(number[1]))
    elif at := re.fullmatch(r"(.+)@run(\d+)", named):
        run = _run(runs, int(at[2]))
        entry = _entry(run, at[1])
    else:
        run = runs[-1]
        entry = _entry(run, named)
    if not entry.tested or not (workspace.root / entry.tested).is_file():
        why = "was stopped after validation" if _stopped(run, entry) else "is not kept any more"
        raise DataError(
            f"{named}: its report on the test part of run {run.number} {why}, so there is nothing "
            "to compare. Compare another, or run again."
        )
    return replace(report.load(workspace.root / entry.tested), candidate=named)


def read_history(workspace: Workspace) -> list[history.Run]:
    """Every run, oldest first; ProjectError before the first."""
    path = workspace.history
    runs = read_rows(path, history.Run) if path.is_file() else []
    if not runs:
        raise ProjectError(
            f"{workspace.project} has not been run yet. Run it: "
            f"sartor run {quote(str(workspace.project))}"
        )
    return runs


def _run(runs: Sequence[history.Run], number: int) -> history.Run:
    for run in runs:
        if run.number == number:
            return run
    raise DataError(f"there is no run {number}; there are runs 1 to {runs[-1].number}.")


def _entry(run: history.Run, candidate: str) -> history.Entry:
    for entry in run.entries:
        if entry.candidate == candidate:
            return entry
    names = ", ".join(entry.candidate for entry in run.entries)
    raise DataError(
        f"run {run.number} had no candidate {candidate!r}; it had: {names}. A candidate of an "
        "earlier run is named like lora@run2, a release like release:1."
    )


def _released(
    workspace: Workspace, runs: Sequence[history.Run], version: int
) -> tuple[history.Run, history.Entry]:
    release = Releases(workspace.folder("releases")).get(version)
    for run in reversed(runs):
        for entry in run.entries:
            same = entry.digest == release.customization.digest
            if entry.candidate == release.candidate and same:
                return run, entry
    raise DataError(
        f"release {version} ({release.candidate}) is of no run that is kept. Name a candidate of "
        "a run instead, such as lora@run1."
    )


def _stopped(run: history.Run, entry: history.Entry) -> bool:
    rows = run.decision.comparisons
    return any(row.candidate == entry.candidate and row.verdict == "stopped" for row in rows)
