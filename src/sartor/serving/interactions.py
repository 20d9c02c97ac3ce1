"""The log of what was asked and answered, which monitoring and feedback read.

SQLite in write-ahead mode rather than JSONL: feedback looks an answer up by its id, monitoring
reads a span of time, and both do so from other processes while the server writes; a killed server
leaves whole rows. Rows are only ever added. The file is readable by its owner only, since it holds
what people asked; keys and headers never get here. Not for network file systems (SQLite's rule).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sartor.data.files import from_json, to_json
from sartor.data.records import Conversation
from sartor.errors import ServingError

logger = logging.getLogger("sartor.serving")

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS interactions (
    id TEXT PRIMARY KEY,
    at TEXT NOT NULL,
    release INTEGER NOT NULL,
    input TEXT NOT NULL,
    completion TEXT NOT NULL,
    finish TEXT NOT NULL,
    document_ids TEXT NOT NULL,
    seconds REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    new_tokens INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS interactions_at ON interactions (at);
"""
PATIENCE = 2.0
"""Seconds to wait for another process that holds the file."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """One request and its answer."""

    id: str
    """The response's id, by which feedback names it."""
    at: str
    """ISO 8601, UTC: when the request came."""
    release: int
    """Version of the release that answered; 0 for a model served without one."""
    input: Conversation
    completion: str
    finish: str
    document_ids: tuple[str, ...]
    """Of the passages put before the model, best first."""
    seconds: float
    """Wall seconds from request to answer, waiting included."""
    prompt_tokens: int
    new_tokens: int


COLUMNS = tuple(field.name for field in fields(Interaction))


class InteractionLog:
    """Adds interactions to a file. Trouble is told once, in the server's log, and fails nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._failing = False

    def append(self, interaction: Interaction) -> None:
        """Write one row; on failure warn once, until writing works again."""
        with self._lock:
            try:
                self._write(interaction)
                self._failing = False
            except (sqlite3.Error, OSError) as error:
                self._drop_connection()
                if not self._failing:
                    logger.warning(
                        "cannot write %s (%s): requests are answered but not logged. "
                        "Free some space or check the folder's rights.",
                        self.path,
                        error,
                    )
                self._failing = True

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._drop_connection()

    def _write(self, interaction: Interaction) -> None:
        if self._connection is None:
            self._connection = _open_for_writing(self.path)
        marks = ", ".join("?" * len(COLUMNS))
        with self._connection:  # one transaction
            self._connection.execute(
                f"INSERT INTO interactions ({', '.join(COLUMNS)}) VALUES ({marks})",
                _to_row(interaction),
            )

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def read_interactions(path: Path, since: str = "") -> Iterator[Interaction]:
    """Interactions at or after `since` (ISO 8601, UTC), oldest first; none without a log."""
    yield from _select(path, "at >= ? ORDER BY at, rowid", since)


def find_interaction(path: Path, id: str) -> Interaction | None:
    """The interaction of that id, or None."""
    return next(_select(path, "id = ?", id), None)


def _open_for_writing(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # Survives a killed process; a power cut may cost the last rows, never the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(SCHEMA)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _select(path: Path, condition: str, value: str) -> Iterator[Interaction]:
    if not path.exists():
        return
    query = f"SELECT {', '.join(COLUMNS)} FROM interactions WHERE {condition}"
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
            for row in connection.execute(query, (value,)):
                yield _from_row(row)
    except (sqlite3.Error, ValueError) as error:
        raise ServingError(
            f"{path} is not a log of interactions that can be read ({error}). "
            "Move it away; the server starts a new one."
        ) from error


def _to_row(interaction: Interaction) -> tuple[Any, ...]:
    values = {name: getattr(interaction, name) for name in COLUMNS}
    values |= {name: to_json(values[name]) for name in ("input", "document_ids")}
    return tuple(values.values())


def _from_row(row: tuple[Any, ...]) -> Interaction:
    values = dict(zip(COLUMNS, row, strict=True))
    values["input"] = from_json(Conversation, values["input"])
    values["document_ids"] = tuple(from_json(list[str], values["document_ids"]))
    return Interaction(**values)
