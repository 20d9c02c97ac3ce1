"""SQL by execution: the answer's query gives the same rows as a target's.

Both run on the project's SQLite database, opened read-only. The engine itself refuses all but
reading (no ATTACH, PRAGMA, writing or extensions), and ends a query that takes too long. The order
of rows counts where the target's query orders them.
"""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.execution import refuse_unless_allowed, written_as
from sartor.evaluation.scorers.place import Placed, digest_of
from sartor.settings import STRICT

_READING = {
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
}  # fmt: skip
_REFUSED_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}
LANGUAGES = frozenset({"", "sql", "sqlite"})
_ORDERED = re.compile(r"\border\s+by\b(?![^(]*\))", re.IGNORECASE)
LONGEST_VALUE = 1_000_000
"""Bytes of one value, and of a query."""
MOST_BYTES = 64_000_000
"""Of all that a query gives; one that gives more is wrong."""
NUMBER_BYTES = 8
STEPS = 10_000
"""Instructions of SQLite's engine between two looks at the clock."""


@dataclass(frozen=True, config=STRICT)
class Sql(Placed):
    """1 when the rows are the same."""

    name: ClassVar[str] = "sql"
    binary: ClassVar[bool] = True

    database: str = ""
    """Path of a SQLite file, relative to the project."""
    allow_execution: bool = False
    """Nothing is run until this is true."""
    max_seconds: float = 5.0
    """Of one query."""
    max_rows: int = 100_000
    """A query that gives more is wrong."""

    def __post_init__(self) -> None:
        if not 0 < self.max_seconds < math.inf or self.max_rows < 1:
            raise SettingError(
                f"scorer sql: max_seconds is {self.max_seconds:g} and max_rows is {self.max_rows}; "
                "expected more than 0 seconds and 1 row or more. Leave them out for 5 and 100,000."
            )

    def check(self) -> None:
        """Raises SettingError where it is not allowed, or there is no database."""
        refuse_unless_allowed(self.name, self.allow_execution)
        self.place.file(self.name, "database", self.database)

    def made_of(self) -> str:
        return digest_of(self.place.file(self.name, "database", self.database))

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Raises SettingError where a target cannot be run."""
        self.check()
        path = self.place.file(self.name, "database", self.database).resolve()
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
            database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            database.execute("PRAGMA temp_store = FILE")  # sorting takes disk, not memory
            database.set_authorizer(_only_reading)
            kept = [p for p in predictions if p.example.targets]
            return [self._score(database, prediction) for prediction in kept]

    def _score(self, database: sqlite3.Connection, prediction: Prediction) -> Score:
        wanted = []
        for target in prediction.example.targets:
            try:
                wanted.append((target, self._rows(database, target)))
            except sqlite3.Error as error:
                raise SettingError(
                    f"scorer {self.name}: the target of {prediction.example.id!r} cannot be run: "
                    f"{error}. Mend the target, or the database."
                ) from error
        try:
            said = self._rows(database, written_as(prediction.completion.text, LANGUAGES))
        except sqlite3.Error as error:
            return Score(prediction.example.id, self.name, 0.0, str(error)[:300])
        right = any(_same(said, rows, ordered=_is_ordered(query)) for query, rows in wanted)
        why = "" if right else f"{len(said)} rows, which are not the target's"
        return Score(prediction.example.id, self.name, float(right), why)

    def _rows(self, database: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
        ends = time.monotonic() + self.max_seconds
        database.set_progress_handler(lambda: int(time.monotonic() > ends), STEPS)
        try:
            return self._read(database.execute(query))
        except (sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
            raise sqlite3.OperationalError(str(error) or "out of memory") from error

    def _read(self, given: sqlite3.Cursor) -> list[tuple[Any, ...]]:
        """One by one: how much there will be is not known before."""
        if given.description is None:  # blank, or a remark: no rows are no answer then
            raise sqlite3.OperationalError("no query")
        rows: list[tuple[Any, ...]] = []
        size = 0
        for row in given:
            size += sum(len(v) if isinstance(v, str | bytes) else NUMBER_BYTES for v in row)
            if len(rows) == self.max_rows:
                raise sqlite3.OperationalError(f"more than {self.max_rows} rows")
            if size > MOST_BYTES:
                raise sqlite3.OperationalError(f"more than {MOST_BYTES // 1_000_000} MB of values")
            rows.append(tuple(_plain(value) for value in row))
        return rows


def _only_reading(action: int, one: str | None, two: str | None, *_: str | None) -> int:
    if action not in _READING:
        return sqlite3.SQLITE_DENY
    unsafe = action == sqlite3.SQLITE_FUNCTION and (two or "").lower() in _REFUSED_FUNCTIONS
    return sqlite3.SQLITE_DENY if unsafe else sqlite3.SQLITE_OK


def _is_ordered(query: str) -> bool:
    return bool(_ORDERED.search(query))


def _same(said: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]], *, ordered: bool) -> bool:
    return said == wanted if ordered else Counter(said) == Counter(wanted)


def _plain(value: Any) -> Any:
    """Sums of floats differ in the last digits with the order they are made in."""
    return float(f"{value:.9g}") if isinstance(value, float) else value
