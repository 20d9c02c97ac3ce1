"""How a technique's settings are declared: typed, defaulted, strict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ConfigDict

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


@contextmanager
def told_by(name: str, where: str = "") -> Iterator[None]:
    """What a technique inside refuses, told by the one whose setting it is."""
    try:
        yield
    except SettingError as error:
        teller, _, what = str(error).partition(": ")
        known = teller == name
        raise SettingError(f"{name}: {'' if known else where}{what}") from error
