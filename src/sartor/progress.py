"""How long work tells of itself: what, how fast, how long still.

Rooms call `task`; who shows it is decided once, at the edge (`cli/` shows bars on stderr).
By default nothing is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Say that `amount` more is done; `note` (a loss, say) replaces the last one."""
        ...


class Reporter(Protocol):
    """Shows tasks somewhere."""

    def start(self, what: str, total: float, unit: str, done: float) -> Task: ...

    def finish(self, task: Task) -> None: ...

    def say(self, message: str) -> None: ...


class SilentTask:
    def advance(self, amount: float = 1, note: str = "") -> None:
        pass


class Silent:
    """Shows nothing."""

    def start(self, what: str, total: float, unit: str, done: float) -> Task:
        return SilentTask()

    def finish(self, task: Task) -> None:
        pass

    def say(self, message: str) -> None:
        pass


_reporter: ContextVar[Reporter] = ContextVar("reporter", default=Silent())  # noqa: B039


@contextmanager
def shown_by(reporter: Reporter) -> Iterator[None]:
    """Let `reporter` show all tasks inside the block."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


@contextmanager
def task(what: str, total: float, unit: str = "", done: float = 0) -> Iterator[Task]:
    """Work of `total` units, `done` of which are done already (a resumed run)."""
    reporter = _reporter.get()
    started = reporter.start(what, total, unit, done)
    try:
        yield started
    finally:
        reporter.finish(started)


def say(message: str) -> None:
    """One line about something worth knowing (a choice made, a step skipped)."""
    _reporter.get().say(message)
