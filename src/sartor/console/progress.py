"""Long work as it goes: bars on a terminal, elsewhere a line as it ends and now and then before."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from sartor.console.screen import console, escape
from sartor.data.cleaning import harmless
from sartor.progress import Task

EVERY_SECONDS = 30.0
"""How often long work tells of itself where there is no terminal."""


class _Rate(TextColumn):
    """Units a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields["unit"]
        return Text(f"{speed:,.1f} {unit}/s" if speed else "", style="dim")


class _Shown:
    """One bar."""

    def __init__(self, progress: Progress, id: TaskID) -> None:
        self.progress = progress
        self.id = id

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.progress.update(self.id, advance=amount)
        if note:
            self.progress.update(self.id, note=escape(note))


class Bars:
    """Progress bars on a terminal: what, how much, how fast, how long still."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def start(self, what: str, total: float, unit: str, done: float) -> Task:
        id = self.progress.add_task(
            escape(what), total=total, completed=int(done), unit=unit, note=""
        )
        return _Shown(self.progress, id)

    def finish(self, task: Task) -> None:
        if isinstance(task, _Shown):
            self.progress.stop_task(task.id)

    def say(self, message: str) -> None:
        self.progress.console.print(escape(message))


class _Line:
    """Work that tells of itself in lines."""

    def __init__(self, what: str, total: float, unit: str, done: float) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self.note = ""
        self.first, self.began, self.shown = done, time.monotonic(), -1.0
        self.told = self.began

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        if time.monotonic() - self.told > EVERY_SECONDS:
            self.tell()

    def tell(self) -> None:
        if self.shown == self.done > self.first:
            return
        self.told, self.shown = time.monotonic(), self.done
        spent = self.told - self.began
        rate = (self.done - self.first) / spent if spent > 0 else 0.0
        left = (self.total - self.done) / rate if rate else 0.0
        parts = [f"{self.what}: {self.done:,.0f}/{self.total:,.0f} {self.unit}".rstrip()]
        if self.first == self.done >= self.total > 0:
            print(harmless(f"{parts[0]} · done before"), file=sys.stderr)
            return
        parts.append(f"{rate:,.1f}/s")
        parts.append(f"{spent:,.0f} s" + (f", {left:,.0f} s left" if left >= 1 else ""))
        told = " · ".join([*parts, *([self.note] if self.note else [])])
        print(harmless(told), file=sys.stderr)


class Lines:
    """Progress where there is no terminal: a line as work ends, and one now and then."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stderr.flush()

    def start(self, what: str, total: float, unit: str, done: float) -> Task:
        return _Line(what, total, unit, done)

    def finish(self, task: Task) -> None:
        if isinstance(task, _Line):
            task.tell()

    def say(self, message: str) -> None:
        print(harmless(message), file=sys.stderr, flush=True)


def reporter() -> Bars | Lines:
    """Bars on a terminal, else lines."""
    shown = console()
    return Bars(shown) if shown.is_terminal else Lines()
