"""Examples from JSONL and CSV files; every line that cannot be used is told of at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from sartor.data.decoding import Unreadable, decode
from sartor.data.example_rows import example
from sartor.data.fields import BadRow
from sartor.data.records import Example
from sartor.data.sources import SourceFile
from sartor.data.tables import BrokenRow, Row, csv_rows, jsonl_rows
from sartor.errors import DataError

_SHOWN = 5
_READERS: dict[str, Callable[[str], Iterator[Row | BrokenRow]]] = {
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
}


@dataclass(frozen=True, slots=True)
class ExamplesRead:
    """The examples of all files, and what had to be guessed to read them."""

    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Bad:
    source: str
    reason: str


def read_examples(files: Sequence[SourceFile]) -> ExamplesRead:
    """All examples of all files, in order; DataError where a line is none, or ids repeat."""
    readable = [file for file in files if file.direct or file.path.suffix.lower() in _READERS]
    notes: list[str] = []
    rows = [(file, row) for file in readable for row in _rows(file, notes)]
    results = [_result(file, row) for file, row in rows]
    bad = [result for result in results if isinstance(result, _Bad)]
    if bad:
        raise DataError(_report(bad, len(rows)))
    examples = [result for result in results if isinstance(result, Example)]
    _refuse_empty(files, examples)
    examples = _with_default_ids(examples)
    _refuse_repeated(examples)
    return ExamplesRead(tuple(examples), tuple(notes))


def _rows(file: SourceFile, notes: list[str]) -> Iterator[Row | BrokenRow]:
    """The file's rows; what had to be guessed is added to `notes`."""
    if file.misnamed:
        raise DataError(f"examples: {file.source} {file.misnamed}.")
    reader = _READERS.get(file.path.suffix.lower())
    if reader is None:
        raise DataError(
            f"examples: {file.source} has a suffix that is not read as examples. "
            f"Expected {' '.join(_READERS)}: save it as one of these."
        )
    try:
        decoded = decode(file.path.read_bytes())
    except Unreadable as reason:
        raise DataError(f"examples: {file.source} {reason}. Save it as UTF-8.") from reason
    except OSError as error:
        raise DataError(
            f"examples: {file.source} cannot be opened ({error.strerror}). Check its rights."
        ) from error
    if decoded.note:
        notes.append(f"{file.source} {decoded.note}")
    return reader(decoded.text)


def _result(file: SourceFile, row: Row | BrokenRow) -> Example | _Bad:
    source = f"{file.source}:{row.line}"
    if isinstance(row, BrokenRow):
        return _Bad(source, row.reason)
    try:
        return example(row.values, "", source)
    except BadRow as reason:
        return _Bad(source, str(reason))


def _report(bad: Sequence[_Bad], total: int) -> str:
    shown = "".join(f"\n  {one.source}: {one.reason}" for one in bad[:_SHOWN])
    more = f"\n  ... and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return (
        f"{len(bad)} of {total} lines of examples cannot be used:{shown}{more}\n"
        'Expected an input and an output, such as {"input": "...", "output": "..."}, on each line. '
        "Mend or delete these lines."
    )


def _refuse_empty(files: Sequence[SourceFile], examples: Sequence[Example]) -> None:
    if files and not examples:
        named = ", ".join(file.source for file in files[:3])
        raise DataError(
            f"examples: {named} holds no examples. "
            'Write one {"input": "...", "output": "..."} a line.'
        )


def _with_default_ids(examples: Sequence[Example]) -> list[Example]:
    """`stem:line` where a row has no id; the whole path where two files share a stem."""
    short = {one.source: _short(one.source) for one in examples if not one.id}
    shared = {name for name, count in Counter(short.values()).items() if count > 1}
    names = {source: source if name in shared else name for source, name in short.items()}
    return [one if one.id else replace(one, id=names[one.source]) for one in examples]


def _short(source: str) -> str:
    path, _, line = source.rpartition(":")
    return f"{PurePosixPath(path).stem}:{line}"


def _refuse_repeated(examples: Sequence[Example]) -> None:
    first: dict[str, str] = {}
    for one in examples:
        if one.id in first:
            raise DataError(
                f"examples: the id {one.id!r} is used twice, in {first[one.id]} and {one.source}. "
                "Give each example its own id, or leave ids out."
            )
        first[one.id] = one.source
