"""A file that says one thing of each example: rows `{"id": ..., KEY: ...}`, one a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sartor.errors import SettingError
from sartor.evaluation.scorers.lines import numbered_lines


def read_by_id(path: Path, scorer: str, key: str) -> dict[str, str]:
    """By example id; SettingError, with the line, for a file that is not such rows."""
    found: dict[str, str] = {}
    for number, line in numbered_lines(path, scorer):
        try:
            id, text = _row(json.loads(line), key)
            if id in found:
                raise ValueError(f"the id {id!r} stands in a line before, too")
        except (ValueError, RecursionError) as error:
            raise SettingError(
                f'scorer {scorer}: {path}:{number}: {error}. Expected one {{"id": "...", "{key}": '
                '"..."} a line, each id once. Mend that line, or leave it out.'
            ) from error
        found[id] = text
    return found


def _row(row: Any, key: str) -> tuple[str, str]:
    """The id, which may be a whole number, and the text."""
    if not isinstance(row, dict):
        raise ValueError("no object in braces")
    id, text = row.get("id"), row.get(key)
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise ValueError(f"id is {json.dumps(id)[:60]}")
    if not isinstance(text, str):
        raise ValueError(f"{key} is {json.dumps(text)[:60]}, which is no text")
    return str(id), text
