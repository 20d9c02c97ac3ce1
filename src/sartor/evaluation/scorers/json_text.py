"""JSON in an answer: the whole of it, or what stands in its one fenced block."""

from __future__ import annotations

import json
from typing import Any

from sartor.evaluation.scorers.fenced import fenced

LANGUAGES = frozenset({"", "json"})


class NotJsonError(ValueError):
    """An answer is not one JSON value; says why."""


def value_of(text: str) -> Any:
    """The value; NotJsonError where there is none, two, or a number that JSON does not have."""
    blocks = fenced(text, LANGUAGES)
    if len(blocks) > 1:
        raise NotJsonError("it holds several fenced blocks")
    try:
        return json.loads(blocks[0] if blocks else text, parse_constant=_refuse)
    except NotJsonError:
        raise
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, too
        raise NotJsonError(f"not JSON: {error}") from error


def _refuse(constant: str) -> Any:
    raise NotJsonError(f"not JSON: {constant}")
