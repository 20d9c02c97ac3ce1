"""What is said of a wrong key or value: where it stands, and the nearest key there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from pydantic import BaseModel

from sartor.project.names import NAME
from sartor.project.remote import Remote
from sartor.project.section import LARGEST_SEED
from sartor.project.sections import ProjectFile

LARGEST = 2**63 - 1
"""TOML 1.0.0, "Integer": what a file may hold."""
UNSHOWN = frozenset({"endpoint", "api_key_env"})
"""Keys whose wrong values are not repeated in errors: a secret may have been put there."""

WRITTEN = {
    "bool": "expected true or false; write it so, without quotes",
    "int": "expected a whole number; write its digits alone, such as 8",
    "float": "expected a number; write it without quotes or brackets, such as 0.5",
    "string_type": 'expected a text; put it in quotes, such as "text"',
    "string_too_short": "expected a text that is not empty; write it, or leave the key out",
    "tuple": 'expected a list; put it in brackets, such as ["one", "two"]',
    "list": 'expected a list; put it in brackets, such as ["one", "two"]',
    "dict": "expected a table; begin it with its name in brackets, and its keys on lines below",
    "model": "expected a table; begin it with its name in brackets, and its keys on lines below",
}
"""By how pydantic's name of the error begins."""
BOUNDS = {
    "ge": "{:g} or more", "gt": "more than {:g}", "le": "{:g} or less", "lt": "less than {:g}",
}  # fmt: skip
"""By pydantic's name of the bound."""


def wrong_numbers(value: Any, path: list[str]) -> Iterator[str]:
    """What is said of numbers that nothing can be reckoned with, in techniques' settings too."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from wrong_numbers(inside, [*path, key])
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from wrong_numbers(inside, [*path, str(number)])
    elif isinstance(value, float) and not isfinite(value):
        yield f"{_place(path)} is {value}; give a finite number, or leave the key out"
    elif isinstance(value, int) and path[-1] == "seed" and not 0 <= value <= LARGEST_SEED:
        yield f"{_place(path)} is {_short(value)}; a seed lies between 0 and {LARGEST_SEED}"
    elif isinstance(value, int) and abs(value) > LARGEST:
        yield f"{_place(path)} is {_short(value)}; whole numbers go up to {LARGEST}"


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**40 else "a number of more than 40 digits"


def is_echo(error: Any, errors: Sequence[Any]) -> bool:
    """Whether it only says that a list is too short once its wrong entries are taken out."""
    inside = any(o["loc"][: len(error["loc"])] == error["loc"] != o["loc"] for o in errors)
    return bool(error["type"] == "too_short" and inside)


def told(error: Any) -> str:
    path = _path(error)
    place = _place(path)
    if error["type"] == "extra_forbidden":
        known = _known(path[:-1])
        near = difflib.get_close_matches(path[-1], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        section = f"[{'.'.join(path[:-1])}] " if path[:-1] else ""
        return f"{section}unknown key {path[-1]!r}; {hint}"
    if error["type"] == "missing":
        return f"{place} is missing; expected in every such table: add `{path[-1]} = ...`"
    if path[-1] == "api_key_env":
        return (
            f"{place} names no environment variable: expected capital letters, digits and _, such "
            "as OPENAI_API_KEY. The key itself belongs into that variable, never into this file"
        )
    if error["type"] == "string_pattern_mismatch":
        return f"{place} is {error['input']!r}: a name {NAME}; 80 characters at most"
    if error["type"] == "value_error" and isinstance(error["input"], str):
        given = "" if path[-1] in UNSHOWN else f" is {error['input']!r}"
        return f"{place}{given}: {error['ctx']['error']}"
    if error["type"] == "value_error":
        return f"{place}: {error['ctx']['error']}"
    given = "" if path[-1] in UNSHOWN else f" is {error['input']!r}"
    return f"{place}{given}: {_expected(error)}"


def _expected(error: Any) -> str:
    """What a value of the wrong type or size should have been, and what to write."""
    kind, told = error["type"], error.get("ctx", {})
    for begins, said in WRITTEN.items():
        if kind.startswith(begins):
            return said
    for bound, words in BOUNDS.items():
        if bound in told:
            return f"expected {words.format(told[bound])}; give that, or leave the key out"
    if kind == "literal_error":
        return f"expected {told['expected']}; give one of these, or leave the key out"
    return f"{error['msg'].lower()}; correct it, or leave the key out"


def _path(error: Any) -> list[str]:
    """Keys down to where it stands: the first, and that of an unknown key, are as written."""
    first, *rest = map(str, error["loc"])
    unknown = rest[-1:] if error["type"] == "extra_forbidden" else []
    between = rest[: len(rest) - len(unknown)]
    return [first, *(part for part in between if not _is_alternative(part)), *unknown]


def _is_alternative(part: str) -> bool:
    """Whether pydantic names one of several types a value may have, which is no key of the file."""
    return part in {"bool", "str"} or "[" in part


def _place(path: Sequence[str]) -> str:
    return f"[{path[0]}]" + (f" {'.'.join(path[1:])}" if path[1:] else "")


def _known(path: Sequence[str]) -> list[str]:
    kind: type[BaseModel] = ProjectFile
    if path and path[0] == "remote":
        return list(Remote.model_fields)
    for part in path:
        field = kind.model_fields.get(part)
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kind = annotation
    return list(kind.model_fields)
