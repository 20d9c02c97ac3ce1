"""The lines of a file that a scorer's setting names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sartor.errors import SettingError


def numbered_lines(path: Path, scorer: str) -> Iterator[tuple[int, str]]:
    """Those that are not blank, from 1; SettingError for what is not UTF-8."""
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise SettingError(
            f"scorer {scorer}: {path} is not UTF-8 text ({error}). Save it as UTF-8."
        ) from error
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip())
