"""What a remote model answered and what was paid for it: kept on the disk, in one SQLite file.

Answers are found again by the digest of their request, so that none is paid twice. Money is put
aside before a request is sent, as much as it could cost at most, and settled when the answer is
there, in one transaction with it. What was put aside by a process that was killed, or for a request
that nobody knows the end of, stays counted: it may have been paid. Any number of threads and
processes may share the file; they also share the pace of requests.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sartor.data.files import from_json, to_json
from sartor.errors import BudgetError, DataError
from sartor.models.language_model import Finish

FILE = "answers.sqlite"
SCHEMA = """
create table if not exists answers (request text primary key, answer text not null) without rowid;
create table if not exists spending (
    id integer primary key, at real not null, amount real not null, settled integer not null
);
create table if not exists pace (only integer primary key check (only = 1), next real not null);
insert or ignore into pace values (1, 0);
create table if not exists held (only integer primary key check (only = 1), until real not null);
insert or ignore into held values (1, 0);
"""
PATIENCE = 60.0
"""Seconds to wait for another process that is writing."""
EARLY = 0.05
"""Seconds that one may wake before one's time."""
AT_ONCE = 500
"""Digests in one query."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer of a remote model."""

    text: str
    finish: Finish
    prompt_tokens: int
    new_tokens: int
    seconds: float
    """Of the attempt that was answered, waiting for one's turn not counted."""
    model: str = ""
    """Which model the provider says it was."""


class Ledger:
    """The file of one remote model, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._closing: weakref.finalize[[], Ledger] | None = None

    def find(self, requests: Sequence[str]) -> dict[str, Kept]:
        """Those of the requests that were answered before, by digest."""
        if not self.path.exists():
            return {}
        found: dict[str, Kept] = {}
        with self._open() as file:
            for start in range(0, len(requests), AT_ONCE):
                part = requests[start : start + AT_ONCE]
                marks = ", ".join("?" * len(part))
                query = f"select request, answer from answers where request in ({marks})"
                found |= {r: self._kept(answer) for r, answer in file.execute(query, part)}
        return found

    def paid(self) -> float:
        """All that was paid, or may have been."""
        if not self.path.exists():
            return 0.0
        with self._open() as file:
            return _paid(file)

    def turn(self, pause: float) -> float:
        """Seconds until one's turn to send, after which nobody sends for `pause` seconds."""
        with self._open() as file:
            now = time.time()
            [(earliest,)] = file.execute("select next from pace")
            start = max(now, earliest)
            if pause:
                file.execute("update pace set next = ?", (start + pause,))
            return float(start - now)

    def hold_back(self, seconds: float) -> None:
        """Nobody sends for so long: the provider asked for it."""
        until = time.time() + seconds
        with self._open() as file:
            file.execute("update pace set next = max(next, ?)", (until,))
            file.execute("update held set until = max(until, ?)", (until,))

    def is_held_back(self) -> bool:
        """Whether the provider asked for it meanwhile: a turn that was taken before is none."""
        with self._open() as file:
            [(until,)] = file.execute("select until from held")
            return bool(until > time.time() + EARLY)

    def reserve(self, most: float, budget: float | None, name: str) -> int:
        """Put money aside for a request; BudgetError where it could cost more than is left."""
        with self._open() as file:
            paid = _paid(file)
            if budget is not None and paid + most > budget:
                raise BudgetError(
                    f"remote model {name!r}: the next request could cost up to {most:.3g}, and "
                    f"{paid:.4g} of the budget of {budget:g} is spent or set aside; it was not "
                    f"sent. Raise budget in [remote.{name}], or leave its candidates out. Answers "
                    "that were paid are kept."
                )
            row = file.execute(
                "insert into spending (at, amount, settled) values (?, ?, 0)", (time.time(), most)
            )
            return int(row.lastrowid or 0)

    def release(self, reserved: int) -> None:
        """The request was refused, or never sent: it costs nothing."""
        with self._open() as file:
            file.execute("delete from spending where id = ?", (reserved,))

    def keep(self, request: str, answer: Kept) -> None:
        """One that nothing was put aside for."""
        with self._open() as file:
            file.execute("insert or replace into answers values (?, ?)", (request, to_json(answer)))

    def settle(self, reserved: int, price: float, request: str, answer: Kept) -> None:
        """The answer is there: keep it, with its price."""
        with self._open() as file:
            file.execute(
                "update spending set amount = ?, settled = 1 where id = ?", (price, reserved)
            )
            file.execute("insert or replace into answers values (?, ?)", (request, to_json(answer)))

    def _kept(self, answer: str) -> Kept:
        try:
            return from_json(Kept, answer)
        except ValidationError as error:
            raise self._broken(error) from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction that other threads and processes wait for."""
        try:
            with self._lock:
                file = self._connected()
                file.execute("begin immediate")
                try:
                    yield file
                except BaseException:
                    file.execute("rollback")
                    raise
                file.execute("commit")
        except (sqlite3.Error, OSError) as error:
            raise self._broken(error) from error

    def _connected(self) -> sqlite3.Connection:
        """The connection; the file is made if it was not there, or is gone."""
        if self._file is not None and self.path.exists():
            return self._file
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(
            self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        self._file, self._closing = file, weakref.finalize(self, file.close)
        if not file.execute("pragma table_info(held)").fetchall():
            _in_turn(file, "pragma journal_mode = wal")
            file.executescript(f"begin immediate; {SCHEMA} commit;")
        file.execute("pragma synchronous = normal")  # what a killed process wrote is there
        return file

    def close(self) -> None:
        """Let go of the file; it is opened again where it is needed."""
        self._file = None
        if self._closing is not None:
            self._closing()

    def _broken(self, error: Exception) -> DataError:
        found = str(error).split("\n")[0]
        return DataError(
            f"{self.path}: answers of a remote model cannot be kept or read ({found}). Free some "
            "space and check the folder's rights; if the file is broken delete it, and lower the "
            "budget by what was paid."
        )


def _in_turn(file: sqlite3.Connection, statement: str) -> None:
    """Run what SQLite gives up at once where another process is at the same."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            file.execute(statement)
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _paid(file: sqlite3.Connection) -> float:
    [(total,)] = file.execute("select coalesce(sum(amount), 0) from spending")
    return float(total)
