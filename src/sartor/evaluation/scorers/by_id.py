"""A file that says one thing of each example: rows `{"id": ..., KEY: ...}`, one a line."""

from __future__ import annotations

import json
from pathlib import Path

from sartor.errors import SettingError


def read_by_id(path: Path, scorer: str, key: str) -> dict[str, str]:
    """By example id; SettingError for a file that is not such rows."""
    try:
        rows = [json.loads(row) for row in path.read_text("utf-8-sig").split("\n") if row]
        return {str(row["id"]): str(row[key]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f'scorer {scorer}: {path} is not rows of {{"id": ..., "{key}": ...}}: {error!r}'
        ) from error
