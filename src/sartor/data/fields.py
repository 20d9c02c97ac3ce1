"""One field of a row: a text, several, a name, a truth; or a BadRow that says what was expected.

Cells of CSV may hold lists, as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sartor.data.cleaning import clean
from sartor.data.json_values import Unwieldy, parsed

_YES = frozenset({"true", "yes", "1"})
_NO = frozenset({"false", "no", "0"})


class BadRow(Exception):  # noqa: N818 - gathered, and raised as one DataError
    """A row that is no example; the message names the field."""


def texts(row: Mapping[str, Any], name: str, *, in_a_cell: bool = False) -> tuple[str, ...]:
    """One text or several, none of them empty; a cell too may hold several, where that is said."""
    value = row[name]
    if isinstance(value, dict) and "text" in value:  # SQuAD: {"text": [...], "answer_start": [...]}
        value = value["text"]
    if in_a_cell and isinstance(value, str) and value.lstrip().startswith("["):
        value = from_cell(value, name)
    if isinstance(value, list):
        if not value:
            raise BadRow(f"{name}: is an empty list; expected at least one answer")
        return tuple(checked(one, f"{name}[{n}]") for n, one in enumerate(value))
    return (checked(value, name),)


def text(row: Mapping[str, Any], name: str) -> str:
    """The text of a field that is there."""
    return checked(row[name], name)


def checked(value: Any, name: str) -> str:
    """The value, which must be text and not empty, cleaned; `name` is where it stands."""
    if not isinstance(value, str):
        raise BadRow(f"{name}: is {json.dumps(value)[:60]}; expected text in quotes")
    text = clean(value)
    if not text:
        raise BadRow(f"{name}: is empty; write it, or delete the line")
    return text


def plain(row: Mapping[str, Any], name: str) -> str:
    """A name or a number; empty where the row has none."""
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRow(f"{name}: is {json.dumps(value)[:60]}; expected text or a whole number")
    return clean(str(value))


def names(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Ids or tags: a list, one alone, or a CSV cell ("a; b" or a JSON list)."""
    value = row.get(name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = from_cell(value, name)
    elif isinstance(value, str) and name in ("document_ids", "tags"):
        value = re.split(r"\s*[;|]\s*", value.strip())
    several = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(filter(None, (plain({name: one}, name) for one in several))))


def truth(row: Mapping[str, Any], name: str) -> bool:
    """True where the row says nothing."""
    value = row.get(name)
    if value is None or value == "":
        return True
    if isinstance(value, bool):
        return value
    if str(value).lower() in _YES | _NO:
        return str(value).lower() in _YES
    raise BadRow(f"{name}: is {json.dumps(value)[:60]}; expected true or false")


def from_cell(cell: str, name: str) -> Any:
    """The JSON in a cell, or the cell as it is."""
    try:
        return parsed(cell)
    except json.JSONDecodeError:
        return cell
    except Unwieldy as reason:
        raise BadRow(f"{name}: {reason}") from reason
