"""Which files the entries of a project name: files, folders and globs, in a fixed order.

Hidden files and folders are passed over in folders and globs. What nothing matches is an error
that suggests the nearest name.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sartor.data.files import digest
from sartor.errors import DataError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be read."""

    path: Path
    source: str
    """What people call it: relative to the project, or absolute if the entry was."""
    within: str
    """Path inside the folder that was named; what tells two files of one name apart."""
    direct: bool
    """Whether it was named itself, rather than found in a folder."""


def find(root: Path, entries: Sequence[str], what: str) -> list[SourceFile]:
    """All files that the entries name, once each, in order of entry and path."""
    found: dict[Path, SourceFile] = {}
    for entry in entries:
        for file in _of_entry(root, entry, what):
            known = found.get(file.path)
            if known is None or (file.direct and not known.direct):
                found[file.path] = file
    return list(found.values())


def _of_entry(root: Path, entry: str, what: str) -> list[SourceFile]:
    path = Path(os.path.normpath(root / Path(entry).expanduser()))
    if path.is_dir():
        files = [_file(root, entry, file, path, direct=False) for file in _inside(path)]
        if not files:
            raise DataError(
                f"{what}: the folder {entry} holds no files. Put some there, or name another."
            )
        return files
    if path.exists():
        return [_file(root, entry, path, path.parent, direct=True)]
    matches = list(_matches(root, entry))
    if not matches:
        raise DataError(
            f"{what}: {entry} does not exist{_nearest(path)}. Paths are relative to {root}."
        )
    return [_file(root, entry, file, _fixed_part(root, entry), direct=False) for file in matches]


def _inside(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(here) / name for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())


def _matches(root: Path, entry: str) -> Iterator[Path]:
    if not any(mark in entry for mark in "*?["):
        return
    fixed = _fixed_part(root, entry)
    pattern = os.path.relpath(os.path.normpath(root / entry), fixed)
    for path in sorted(fixed.glob(pattern)):
        hidden = any(part.startswith(".") for part in path.relative_to(fixed).parts)
        if path.is_file() and not hidden:
            yield path


def _fixed_part(root: Path, entry: str) -> Path:
    """The folders of a glob that come before its first wildcard."""
    path = Path(os.path.normpath(root / entry))
    wild = next(n for n, part in enumerate(path.parts) if any(mark in part for mark in "*?["))
    return Path(*path.parts[:wild])


def _file(root: Path, entry: str, path: Path, folder: Path, *, direct: bool) -> SourceFile:
    source = path if Path(entry).expanduser().is_absolute() else Path(os.path.relpath(path, root))
    return SourceFile(path, source.as_posix(), path.relative_to(folder).as_posix(), direct)


def _nearest(path: Path) -> str:
    names = (
        sorted(sibling.name for sibling in path.parent.iterdir()) if path.parent.is_dir() else []
    )
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def fingerprint(root: Path, *entries: Sequence[str]) -> str:
    """Digest of every file the entries name, by name and content."""
    return digest(
        [
            [(file.source, _content(file.path)) for file in find(root, named, "data")]
            for named in entries
            if named
        ]
    )


def _content(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"
