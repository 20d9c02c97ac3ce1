"""Collect: documents and examples from files, each with where it came from.

In a folder, a file that cannot be read is recorded in `dropped` with the reason; named itself, or
when nothing else is left, it is an error. An examples file inside a documents folder is never read
as a document: it holds the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from sartor.data.catalogue import Parsed
from sartor.data.decoding import Unreadable
from sartor.data.examples import read_examples
from sartor.data.files import digest
from sartor.data.formats import Contents, read
from sartor.data.records import Document, Dropped, Example
from sartor.data.sources import SourceFile, find
from sartor.data.tables import BrokenTable
from sartor.errors import DataError
from sartor.progress import task

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Collected:
    """All that the project's files hold."""

    documents: tuple[Document, ...]
    examples: tuple[Example, ...]
    dropped: tuple[Dropped, ...]
    """What could not be read, and why."""
    notes: tuple[str, ...] = ()
    """What had to be guessed or renamed, for people."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A document before its id is known to be the only one."""

    file: SourceFile
    parsed: Parsed
    collected_at: str

    @property
    def id(self) -> str:
        stem = PurePosixPath(self.file.within).stem
        return self.parsed.key or (f"{stem}-{self.parsed.row}" if self.parsed.row else stem)

    @property
    def unique_id(self) -> str:
        """Its id among documents that share one: the path inside the folder."""
        return f"{self.file.within}{self.part}"

    @property
    def source(self) -> str:
        return f"{self.file.source}{self.part}"

    @property
    def part(self) -> str:
        """Which record of its file it is."""
        return f"#{self.parsed.key or self.parsed.row}" if self.parsed.row else ""


def collect(root: Path, documents: Sequence[str], examples: Sequence[str]) -> Collected:
    """Read files, folders and globs; paths are relative to `root` or absolute."""
    example_files = find(root, examples, "examples") if examples else []
    document_files = find(root, documents, "documents") if documents else []
    answers = {file.path.resolve() for file in example_files}
    kept = [file for file in document_files if file.path.resolve() not in answers]
    reading = _Reading([], [], [])
    with task("collect", total=len(kept) + len(example_files), unit="files") as progress:
        for file in kept:
            reading.add(file)
            progress.advance()
        told = read_examples(example_files)
        progress.advance(len(example_files))
    reading.check(bool(documents))
    for file in document_files:
        if file.path.resolve() in answers:
            reading.drop(
                file, "is a file of examples: as a document it would give the answers away"
            )
    named, notes = _with_unique_ids(reading.found)
    return Collected(
        named, told.examples, tuple(reading.dropped), (*reading.notes, *notes, *told.notes)
    )


@dataclass(slots=True)
class _Reading:
    """What has been read so far."""

    found: list[_Found]
    dropped: list[Dropped]
    notes: list[str]

    def add(self, file: SourceFile) -> None:
        try:
            if file.misnamed:
                raise Unreadable(file.misnamed)
            contents = read(file.path)
        except Unreadable as reason:
            if file.direct or isinstance(reason, BrokenTable):
                raise DataError(
                    f"{file.source} {reason}. Convert it, or take it out of documents."
                ) from reason
            self.drop(file, str(reason))
        else:
            self._keep(file, contents)

    def _keep(self, file: SourceFile, contents: Contents) -> None:
        at = datetime.fromtimestamp(int(file.path.stat().st_mtime), UTC).isoformat()
        self.found += [_Found(file, parsed, at) for parsed in contents.parsed if parsed.text]
        self.notes += [f"{file.source} {contents.note}"] if contents.note else []
        for row in contents.broken:
            source = f"{file.source}:{row.line}"
            self.dropped.append(Dropped(source, "document", row.reason, source))

    def drop(self, file: SourceFile, reason: str) -> None:
        stem = PurePosixPath(file.source).stem
        self.dropped.append(Dropped(stem, "document", reason, file.source))

    def check(self, expected: bool) -> None:
        """Refuse to go on with documents asked for and none read."""
        if self.found or not expected:
            return
        first = "; ".join(f"{drop.source} {drop.reason}" for drop in self.dropped[:_SHOWN])
        more = f"; and {len(self.dropped) - _SHOWN} more" if len(self.dropped) > _SHOWN else ""
        raise DataError(
            f"none of the documents can be read: {first or 'only files of examples'}{more}. "
            "Convert them to Markdown, text, HTML, XML, CSV or JSONL, or name others in documents."
        )


def _with_unique_ids(found: Sequence[_Found]) -> tuple[tuple[Document, ...], list[str]]:
    """Documents; those that share an id are all renamed after their paths."""
    shared = {id for id, count in Counter(one.id for one in found).items() if count > 1}
    ids = [one.unique_id if one.id in shared else one.id for one in found]
    still_shared = {
        id for id, count in Counter(ids).items() if count > 1
    }  # one path in two folders
    ids = [one.source if id in still_shared else id for one, id in zip(found, ids, strict=True)]
    notes = [_renamed(shared)] if shared else []
    return tuple(_document(one, id) for one, id in zip(found, ids, strict=True)), notes


def _renamed(shared: set[str]) -> str:
    return (
        f"{len(shared)} ids are used by more than one document (first: {min(shared)!r}); "
        "those documents are known by their paths, and examples must name them so"
    )


def _document(found: _Found, id: str) -> Document:
    parsed = found.parsed
    blank = Document(id, parsed.text, found.source, parsed.title, collected_at=found.collected_at)
    return replace(blank, digest=digest(parsed.title, parsed.text))
