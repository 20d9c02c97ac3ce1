"""Which files the entries of a project name: files, folders and globs, in a fixed order.

Hidden files and folders are passed over in folders and globs, and so is what sartor itself writes
in a project: its report quotes the test part. What nothing matches is an error that suggests the
nearest name.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sartor.data.files import digest
from sartor.data.paths import located, printable
from sartor.errors import DataError

OWN = ("sartor.toml", "report.html")
"""What sartor keeps in a project's folder, beside hidden files."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be read."""

    path: Path
    source: str
    """What people call it: relative to the project, or absolute if the entry was; printable."""
    within: str
    """Path inside the folder that was named; what tells two files of one name apart."""
    direct: bool
    """Whether it was named itself, rather than found in a folder."""

    @property
    def misnamed(self) -> str:
        """What is wrong with its name; empty where nothing is."""
        if printable(self.within) == self.within:
            return ""
        return "has a name that is not UTF-8; rename it"


def find(root: Path, entries: Sequence[str], what: str) -> list[SourceFile]:
    """All files that the entries name, once each, in order of entry and path."""
    found: dict[Path, SourceFile] = {}
    for entry in entries:
        for file in _of_entry(root, entry, what):
            if not file.direct and file.path in {root / name for name in OWN}:
                continue
            known = found.get(file.path)
            if known is None or (file.direct and not known.direct):
                found[file.path] = file
    return list(found.values())


def _of_entry(root: Path, entry: str, what: str) -> list[SourceFile]:
    located(entry, what, root)
    path = _whole(root, entry)
    if path.is_dir():
        files = [_file(root, entry, file, path, direct=False) for file in _inside(path)]
        if not files:
            raise DataError(
                f"{what}: the folder {entry} holds no files. Put some there, or name another."
            )
        return files
    if path.exists():
        return [_file(root, entry, path, path.parent, direct=True)]
    fixed, pattern = _divided(root, entry)
    matches = list(_matches(fixed, pattern, entry, what)) if pattern else []
    if not matches:
        raise DataError(
            f"{what}: {entry} does not exist.{_nearest(path)} Paths are relative to {root}."
        )
    return [_file(root, entry, file, fixed, direct=False) for file in matches]


def _whole(root: Path, entry: str) -> Path:
    """The absolute path, its links as they are: files are called what the user calls them."""
    return Path(os.path.normpath(root / Path(entry).expanduser()))


def _inside(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(here) / name for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())


def _matches(folder: Path, pattern: str, entry: str, what: str) -> Iterator[Path]:
    try:
        paths = sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise DataError(
            f"{what}: {entry} is no pattern ({error}). `*` stands for any part of a name, and `**` "
            'alone between slashes for any folders: "notes/**/*.md".'
        ) from error
    for path in paths:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def _divided(root: Path, entry: str) -> tuple[Path, str]:
    """The folders of a glob that come before its first wildcard, and the rest, if any."""
    parts = Path(entry).expanduser().parts
    wild = next(
        (n for n, part in enumerate(parts) if any(mark in part for mark in "*?[")), len(parts)
    )
    rest = os.path.normpath(Path(*parts[wild:])) if wild < len(parts) else ""
    return Path(os.path.normpath(root / Path(*parts[:wild]))), rest


def _file(root: Path, entry: str, path: Path, folder: Path, *, direct: bool) -> SourceFile:
    source = path if Path(entry).expanduser().is_absolute() else Path(os.path.relpath(path, root))
    within = path.relative_to(folder).as_posix()
    return SourceFile(path, printable(source.as_posix()), within, direct)


def _nearest(path: Path) -> str:
    try:
        names = sorted(printable(sibling.name) for sibling in path.parent.iterdir())
    except OSError:  # no folder, or not ours to list: nothing to suggest
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def fingerprint(root: Path, documents: Sequence[str], examples: Sequence[str]) -> str:
    """Digest of every file the entries name, by name and content."""
    return digest(
        [
            [(file.source, _content(file.path)) for file in find(root, named, what)]
            for what, named in (("documents", documents), ("examples", examples))
            if named
        ]
    )


def _content(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"
