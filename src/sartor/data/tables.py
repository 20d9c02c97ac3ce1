"""CSV and JSONL: each row a record of a catalogue.

Rows that cannot be used are handed back with their line and the reason. JSON rows are split on
"\\n" only: other Unicode line ends belong to the text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sartor.data.catalogue import Fields, Parsed, catalogue, flattened
from sartor.data.decoding import Unreadable

_LARGEST_FIELD = 2**31 - 1  # the C long of every platform
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A line of a table that is no row of it."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in the file; `line` is where it begins, counted from 1."""

    line: int
    values: dict[str, Any]


def csv_records(text: str) -> tuple[list[Parsed], list[BrokenRow]]:
    """One record a row, named by the header."""
    return _records(csv_rows(text))


def jsonl_records(text: str) -> tuple[list[Parsed], list[BrokenRow]]:
    """One record a line."""
    return _records(jsonl_rows(text))


def csv_rows(text: str) -> Iterator[Row | BrokenRow]:
    """The rows under a header; the delimiter is the one the header uses most."""
    header_line = next((line for line in text.split("\n") if line.strip()), "")
    delimiter = max(_DELIMITERS, key=header_line.count)
    largest = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield from _csv_rows(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    finally:
        csv.field_size_limit(largest)


def jsonl_rows(text: str) -> Iterator[Row | BrokenRow]:
    """The JSON objects, one a line; empty lines are passed over."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _json_row(number, line)


def _csv_rows(reader: Any) -> Iterator[Row | BrokenRow]:
    header: list[str] = []
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BrokenRow(line, f"is not CSV ({error})")
            return
        if any(cell.strip() for cell in cells):
            if not header:
                header = [cell.strip() or f"column {n}" for n, cell in enumerate(cells, 1)]
            elif len(cells) > len(header) and any(cells[len(header) :]):
                yield BrokenRow(
                    line,
                    f"has {len(cells)} fields where the header has {len(header)}; "
                    "quote the fields that hold a delimiter",
                )
            else:
                yield Row(line, dict(zip(header, cells, strict=False)))
        line = reader.line_num + 1


def _json_row(number: int, line: str) -> Row | BrokenRow:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return BrokenRow(number, f"is not JSON ({error.msg} at column {error.colno})")
    except RecursionError:
        return BrokenRow(number, "is nested too deeply")
    if not isinstance(value, dict):
        return BrokenRow(
            number, f"is a JSON {_kind(value)}; expected an object {{...}} on each line"
        )
    return Row(number, value)


def _kind(value: Any) -> str:
    return {list: "list", str: "string", bool: "truth value", type(None): "null"}.get(
        type(value), "number"
    )


def _records(rows: Iterator[Row | BrokenRow]) -> tuple[list[Parsed], list[BrokenRow]]:
    good: list[Fields] = []
    broken: list[BrokenRow] = []
    for row in rows:
        if isinstance(row, Row):
            good.append(flattened(row.values))
        else:
            broken.append(row)
    if not good:
        reason = f"line {broken[0].line} {broken[0].reason}" if broken else "it has no rows"
        raise Unreadable(f"holds no records: {reason}")
    return catalogue(good), broken
