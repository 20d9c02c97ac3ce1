"""JSON that someone else wrote: what cannot be read, or is of a size no field has, is refused."""

from __future__ import annotations

import json
import sys
from typing import Any

_DEEPEST = 100  # lists and objects inside one another; Python stops at some hundreds


class Unwieldy(Exception):  # noqa: N818 - a finding about one line, reported with others
    """JSON that is well-formed and yet cannot be used; the message is the reason."""


def parsed(text: str) -> Any:
    """The value; json.JSONDecodeError where it is no JSON, Unwieldy where it is too much of it."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise Unwieldy(
            f"holds a number of more than {sys.get_int_max_str_digits()} digits; "
            "write it as text in quotes"
        ) from error
    except RecursionError as error:
        raise Unwieldy(_too_deep()) from error
    if text.count("[") + text.count("{") > _DEEPEST and _depth(value) > _DEEPEST:
        raise Unwieldy(_too_deep())
    return value


def _too_deep() -> str:
    return f"is nested too deeply; expected at most {_DEEPEST} lists and objects inside one another"


def _depth(value: Any) -> int:
    depth = 0
    level = [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [
            inner for one in level for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth
