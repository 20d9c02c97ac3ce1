"""The first steps of a run: files collected, prepared, divided, once while they stay the same."""

from __future__ import annotations

from pathlib import Path

from sartor import __version__
from sartor.data import prepared_files
from sartor.data.collect import collect
from sartor.data.files import digest
from sartor.data.prepare import Preparation, Prepared, prepare
from sartor.data.sources import fingerprint
from sartor.errors import DataError
from sartor.progress import say
from sartor.project import ProjectFile
from sartor.workspace import Workspace, complete, is_current, reopen


def data_key(folder: Path, file: ProjectFile) -> str:
    """Digest of what the data step is made from: the files, and how they are divided."""
    files = fingerprint(folder, file.data.documents, file.data.examples)
    return digest(__version__, files, file.data.model_dump(), file.project.seed)


def prepared_data(workspace: Workspace, file: ProjectFile, key: str) -> Prepared:
    """Collect and prepare, unless that was done from the same files and settings."""
    folder = workspace.folder("data")
    if is_current(folder, key):
        try:
            found = prepared_files.load(folder)
        except DataError as error:
            say(f"data: made again: {error}")
        else:
            say("data: unchanged")
            return found
    reopen(folder)
    prepared = collected_and_prepared(workspace.project, file)
    prepared_files.save(prepared, folder)
    complete(folder, key)
    for warning in prepared.warnings:
        say(f"data: {warning}")
    return prepared


def collected_and_prepared(folder: Path, file: ProjectFile) -> Prepared:
    """The data as a run would have it; nothing is written."""
    data = file.data
    division = data.model_dump(exclude={"documents", "examples"})
    return prepare(
        collect(folder, data.documents, data.examples),
        Preparation(**division, seed=file.project.seed),
    )
