"""Rows with judged answers, in the fields that other rows have, and what was rejected in them.

{..., "output", "rejected"}                  "chosen" is another name for the output
{..., "output", "correction"}                what was said, and what should have been
{..., "output", "verdict": "up" | "down"}    a thumb
{"prompt", "completion", "label": true}      a thumb, as TRL has it
{"prompt"?, "chosen", "rejected"}            each a text, or turns of a chat, as TRL has them

A judgement that cannot be understood is a BadRow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sartor.data.fields import BadRow

ANSWERS = ("output", "answer", "response", "completion", "chosen")
LIKED, DISLIKED = frozenset({"up", "true"}), frozenset({"down", "false"})


@dataclass(frozen=True, slots=True)
class Judged:
    """A row whose answers, if it has any, are right ones, and the rejected answers beside it."""

    row: dict[str, Any]
    rejected: tuple[Any, ...]
    """As they stand in the row: not yet checked to be text."""
    disliked: bool
    """Whether no right answer is left."""


def judged(row: Mapping[str, Any]) -> Judged:
    """The row, whose names are in lower case, without its judgements, and what they say."""
    rest = _as_chat(dict(row))
    rejected = _several(rest.pop("rejected", None))
    correction = rest.pop("correction", None)
    liked = _verdict(rest)
    name = next((name for name in ANSWERS if rest.get(name) not in (None, "")), "")
    if correction not in (None, ""):
        if not name:
            raise BadRow(
                f"correction: corrects nothing; expected {', '.join(ANSWERS)} too, what was said"
            )
        rejected = (*_several(rest.pop(name)), *rejected)
        rest["output"] = correction
        name = "output"
    elif liked is False:
        if not name:
            raise BadRow(f"verdict: judges nothing; expected one of {', '.join(ANSWERS)} too")
        rejected = (*_several(rest.pop(name)), *rejected)
        name = ""
    further = any(rest.get(other) for other in ("answers", "references", "messages"))
    return Judged(rest, rejected, bool(rejected) and not name and not further)


def _verdict(rest: dict[str, Any]) -> bool | None:
    """What a thumb says; it is taken out of the row. `label` is a thumb where it is a truth."""
    value = rest.pop("verdict", None)
    if isinstance(rest.get("label"), bool):
        value = rest.pop("label")
    elif value in (None, "") and rest.get("completion") and "prompt" in rest:
        said = str(rest.get("label", "")).strip().lower()
        value = rest.pop("label") if said in ("true", "false") else None
    if value in (None, ""):
        return None
    said = str(value).strip().lower()
    if said not in LIKED | DISLIKED:
        raise BadRow(f'verdict: is {json.dumps(value)[:60]}; expected "up" or "down"')
    return said in LIKED


def _several(value: Any) -> tuple[Any, ...]:
    if value in (None, "", []):
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _as_chat(rest: dict[str, Any]) -> dict[str, Any]:
    """Turns in `prompt`, `chosen`, `rejected` or `completion`: the prompt's as a chat, the others'
    as the text of their last turn."""
    names = [n for n in ("prompt", "chosen", "rejected", "completion") if _turns(rest.get(n))]
    if not names:
        return rest
    before = rest["prompt"] if "prompt" in names else None
    for name in names:
        if name != "prompt":
            turns = rest[name]
            before = turns[:-1] if before is None and len(turns) > 1 else before
            rest[name] = turns[-1].get("content")
    if before:
        rest.pop("prompt", None)
        rest["turns"] = before
    return rest


def _turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
