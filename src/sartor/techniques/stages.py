"""Stages of a technique that customizes several times: each has a folder, and is done once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sartor.data.files import read_json, write_json, write_text
from sartor.techniques.technique import RECORD, Customization

MADE_OF = "made_of"


def done_once(folder: Path, key: str, make: Callable[[], Customization]) -> Customization:
    """What `make` leaves in the folder, unless that was done for the same key."""
    record, made_of = folder / RECORD, folder / MADE_OF
    if record.is_file() and made_of.is_file() and made_of.read_text("utf-8") == key:
        return read_json(record, Customization)
    record.unlink(missing_ok=True)
    made = make()
    write_text(made_of, key)
    write_json(record, made)
    return made
