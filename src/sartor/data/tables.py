"""CSV and JSONL: each row a record of a catalogue.

Rows that cannot be used are handed back with their line and the reason. JSON rows are split on
"\\n" only: other Unicode line ends belong to the text.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sartor.data.catalogue import Fields, Parsed, catalogue, flattened
from sartor.data.decoding import Unreadable
from sartor.data.json_values import Unwieldy, parsed

_LARGEST_FIELD = 2**31 - 1  # the C long of every platform
_DELIMITERS = (",", ";", "\t", "|")


class BrokenTable(Unreadable):
    """A table of which more than single rows is lost: an error wherever the file was found."""


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A line of a table that is no row of it."""

    line: int
    reason: str
    ends_file: bool = False
    """Whether nothing behind it can be read."""


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
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from _csv_rows(reader, text.split("\n"), delimiter)
    finally:
        csv.field_size_limit(largest)


def jsonl_rows(text: str) -> Iterator[Row | BrokenRow]:
    """The JSON objects, one a line; empty lines are passed over."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _json_row(number, line)


def _csv_rows(reader: Any, lines: list[str], delimiter: str) -> Iterator[Row | BrokenRow]:
    header: list[str] = []
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            broken = _misquoted(line, lines, reader.line_num, delimiter)
            broken = broken if header else replace(broken, ends_file=True)
            yield broken
            if broken.ends_file:
                return
            cells = []
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


def _misquoted(first: int, lines: list[str], last: int, delimiter: str) -> BrokenRow:
    """What is wrong in lines `first` to `last`: a quote that has no end of its own.

    Where it has run on into other lines, which of these are rows cannot be told.
    """
    row = "\n".join(lines[first - 1 : last])
    end = f"[{re.escape(delimiter)}\n]"
    quoted = f'"[^"]*+(?:""[^"]*+)*+"(?={end})'
    sound = re.match(f'(?:(?:{quoted}|(?!")[^{end[1:]}*+){end})*+', row)
    opened = first + row.count("\n", 0, sound.end() if sound else 0)
    reason = (
        "opens a quote that is never closed, or closed inside a field; close it at the field's "
        'end, and write a quote inside a field as ""'
    )
    return BrokenRow(opened, reason, ends_file=last > opened)


def _json_row(number: int, line: str) -> Row | BrokenRow:
    try:
        value = parsed(line)
    except json.JSONDecodeError as error:
        return BrokenRow(number, f"is not JSON ({error.msg} at column {error.colno})")
    except Unwieldy as reason:
        return BrokenRow(number, str(reason))
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
        elif row.ends_file:
            raise BrokenTable(f"is broken at line {row.line}, which {row.reason}")
        else:
            broken.append(row)
    if not good:
        reason = f"line {broken[0].line} {broken[0].reason}" if broken else "it has no rows"
        raise Unreadable(f"holds no records: {reason}")
    return catalogue(good), broken
