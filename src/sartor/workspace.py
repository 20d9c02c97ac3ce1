"""`.sartor/`, where every step leaves its files: which are whole and current, who is at work.

A step is a folder or file with a key, the digest of all it was made from. Its manifest is written
last: its presence means that the step is whole, its key whether it is current.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sartor.data.files import from_json, write_json
from sartor.errors import BusyError, ProjectError

MANIFEST = "manifest.json"


class Workspace:
    """The folder `.sartor` of a project."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.root = project / ".sartor"

    def folder(self, *parts: str) -> Path:
        """A folder inside, not made yet."""
        return self.root.joinpath(*parts)

    @property
    def decision(self) -> Path:
        return self.root / "decision.json"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def history(self) -> Path:
        return self.root / "history.jsonl"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the project: one run at a time. BusyError names the process that holds it."""
        with self._told_of_the_disk():
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / "lock").open("a+")
        with file:
            taken = _take(file, self.project)
            try:  # from the first byte on: Ctrl-C may come at once
                if taken:
                    with self._told_of_the_disk():
                        _sign(file)
                    self._sweep()
                yield
            finally:
                file.truncate(0)

    @contextlib.contextmanager
    def _told_of_the_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ProjectError(
                f"cannot write in {self.root}: {error.strerror}. "
                "Check the folder's rights and the disk."
            ) from error

    def _sweep(self) -> None:
        """Remove what killed processes had half written."""
        for found in (self.root.rglob("*.tmp"), self.project.glob(".report.html.*.tmp")):
            for path in filter(Path.is_file, found):
                if not _being_written(path):
                    path.unlink(missing_ok=True)


def _being_written(path: Path) -> bool:
    """By another process, whose number is in the name: one that only reports takes no lock."""
    number = path.name.split(".")[-2]
    if not number.isdigit():  # a training's state, which only who holds the project writes
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return int(number) != os.getpid()


def _take(file: IO[str], project: Path) -> bool:
    """Whether it is locked: False where there are no such locks; BusyError where another has it."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: no advisory locks of this kind
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise BusyError(
            f"another process (pid {holder}) is running {project}. Wait for it, or stop it; "
            "what it has done is kept."
        ) from error
    return True


def _sign(file: IO[str]) -> None:
    """Say which process has it."""
    file.truncate(0)
    os.write(file.fileno(), str(os.getpid()).encode())  # at once: what is buffered fails again


def is_current(folder: Path, key: str) -> bool:
    """Whether the step in `folder` is whole and was made from `key`."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return False
    try:
        return from_json(dict[str, str], manifest.read_text("utf-8")).get("key") == key
    except ValueError:
        return False


def complete(folder: Path, key: str) -> None:
    """Say that the step in `folder` is whole."""
    write_json(folder / MANIFEST, {"key": key})


def reopen(folder: Path) -> None:
    """Say that the step in `folder` is being made anew."""
    (folder / MANIFEST).unlink(missing_ok=True)
