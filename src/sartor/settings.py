"""How a technique's settings are declared: typed, defaulted, strict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

from pydantic import ConfigDict, ValidationError

from sartor.errors import SettingError

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
"""For `pydantic.dataclasses.dataclass(frozen=True, config=STRICT)`."""


def settings_of(technique: Any) -> dict[str, Any]:
    """A technique's settings as plain values, those of the one inside it included."""
    from dataclasses import fields

    plain: dict[str, Any] = {"technique": technique.name}
    for field in fields(technique):
        value = getattr(technique, field.name)
        if hasattr(value, "fit"):
            value = settings_of(value)
        plain[field.name] = list(value) if isinstance(value, tuple) else value
    return plain


def wrong(name: str, error: ValidationError) -> str:
    """What pydantic refused first of the settings of `name`."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    said = first["msg"].replace("valid tuple", "list in brackets")
    return f"{name}: {where} is {first['input']!r}: {said}"


def no_truths(fields: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """What is said of true or false where a number belongs: pydantic takes them for 1 and 0.
    `fields` are a model's or dataclass's, as pydantic has them."""
    for key, value in given.items():
        if isinstance(value, bool) and key in fields and _is_number(fields[key].annotation):
            yield f"{key} is {str(value).lower()}; expected a number: write its digits, such as 8"


def _is_number(annotation: Any) -> bool:
    return _takes(annotation, int, float) and not _takes(annotation, bool)


def _takes(annotation: Any, *kinds: type) -> bool:
    inside = (_takes(one, *kinds) for one in get_args(annotation))
    return annotation in kinds or any(inside)


@contextmanager
def told_by(name: str, where: str = "") -> Iterator[None]:
    """What a technique inside refuses, told by the one whose setting it is."""
    try:
        yield
    except SettingError as error:
        teller, _, what = str(error).partition(": ")
        known = teller == name
        raise SettingError(f"{name}: {'' if known else where}{what}") from error
