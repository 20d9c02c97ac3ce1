"""What people see in the terminal: progress, and tables. All of it goes to stderr.

On a terminal work is shown as bars; elsewhere as a line when it ends, and now and then meanwhile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
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
from rich.table import Table
from rich.text import Text

from sartor.checkup import Checkup
from sartor.costing import Costs
from sartor.evaluation.history import Run
from sartor.models.catalogue import Memory, Shortlist
from sartor.outcome import Outcome
from sartor.progress import Task
from sartor.studio import figures

WIDTH = 150
"""Columns of a table where there is no terminal."""
EVERY_SECONDS = 30.0
"""How often long work tells of itself where there is no terminal."""


def console() -> Console:
    width = None if sys.stderr.isatty() else WIDTH
    return Console(stderr=True, width=width, highlight=False)


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
            self.progress.update(self.id, note=note)


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
        parts.append(f"{rate:,.1f}/s")
        parts.append(f"{spent:,.0f} s" + (f", {left:,.0f} s left" if left >= 1 else ""))
        print(" · ".join([*parts, *([self.note] if self.note else [])]), file=sys.stderr)


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
        print(message, file=sys.stderr, flush=True)


def reporter() -> Bars | Lines:
    """Bars on a terminal, else lines."""
    shown = console()
    return Bars(shown) if shown.is_terminal else Lines()


def print_outcome(outcome: Outcome, currency: str) -> None:
    """The leaderboard, and the verdict."""
    scorer = outcome.decision.criteria.scorer
    table = _table(
        "candidate", f"{scorer} (95 %)", f"{currency}/1,000", "s/answer", "memory", "trained",
        "training", "verdict",
    )  # fmt: skip
    verdicts = {row.candidate: row.verdict for row in outcome.decision.comparisons}
    ordered = sorted(
        outcome.reports, key=lambda r: -r.estimates[scorer].mean if scorer in r.estimates else 1.0
    )
    for report in ordered:
        found, measured = report.estimates.get(scorer), report.measured
        verdict = verdicts[report.candidate]
        table.add_row(
            escape(report.candidate),
            f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})" if found else "-",
            f"{measured.cost_per_answer * 1000:.4f}",
            figures.seconds(measured.seconds_per_answer),
            figures.memory(measured.peak_memory_bytes),
            figures.parameters(measured.trainable_parameters),
            figures.duration(measured.training_seconds),
            verdict,
            style="bold green" if verdict == "winner" else None,
        )
    shown = console()
    shown.print(table)
    winner = outcome.decision.winner
    shown.print(f"[bold]winner: {escape(winner) if winner else 'none'}[/bold]")
    shown.print(escape(outcome.decision.reason))
    shown.print(f"report: {escape(str(outcome.page))}")


def print_history(runs: Sequence[Run]) -> None:
    """Each run, and what each change did on validation."""
    shown = console()
    for run in runs:
        winner = run.decision.winner or "no winner"
        title = f"run {run.number} · {run.at} · base {run.base} · {winner}"
        shown.print(f"[bold]{escape(title)}[/bold]")
        shown.print(f"data {run.data[:12]}; looks at this test part so far: {run.looks}")
        table = _table("candidate", "changed", f"validation {run.scorer}", "effect", "cost/1,000")
        for entry in run.entries:
            value, effect = entry.validation, entry.effect
            table.add_row(
                escape(entry.candidate),
                escape("; ".join(entry.changed)) or "-",
                f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})" if value else "-",
                f"{effect.difference:+.3f} ({effect.low:+.3f} to {effect.high:+.3f}), "
                f"{effect.verdict}"
                if effect
                else "-",
                f"{entry.cost_per_answer * 1000:.4f}",
            )
        shown.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_models(found: Shortlist, use: str, memory: Memory) -> None:
    """The models that fit, and why every other does not."""
    shown = console()
    table = _table("base", "parameters", "context", f"memory ({use})", "license", "languages")
    for model in found.fit:
        table.add_row(
            escape(model.id),
            figures.parameters(int(model.parameters)),
            f"{model.context:,}",
            f"{memory(model, use) / 1e9:.1f} GB",
            model.license_name,
            model.languages,
        )
    shown.print(table)
    if found.left_out:
        shown.print("left out:")
    for model, reasons in found.left_out:
        shown.print(f"  {escape(model.id)}: {'; '.join(reasons)}")


def print_costs(found: Costs) -> None:
    """What customizing would take."""
    shown, several = console(), found.gpus > 1
    where = f"{found.gpus} x {found.machine}" if several else found.machine
    shown.print(
        f"base {escape(found.base)} on {escape(where)}, {found.memory_bytes / 1e9:.0f} GB"
        f"{' each' if several else ''}; answers: {found.answers:,}"
    )
    table = _table(
        "technique", "customize", "epoch", "tokens", "an answer", "peak memory", "kWh", "money", ""
    )
    for one in found.costed:
        table.add_row(
            escape(one.name),
            figures.duration(one.seconds_to_customize),
            figures.duration(one.seconds_an_epoch),
            f"{one.training_tokens:,}",
            figures.seconds(one.seconds_per_answer),
            f"{one.peak_memory_bytes / 1e9:.2f} GB",
            figures.significant(one.energy_kwh, 2),
            figures.money(one.money or None, found.currency),
            "" if one.fits else f"[red]{escape(one.why)}[/red]",
        )
    shown.print(table)
    for how in dict.fromkeys(one.how for one in found.costed):
        names = ", ".join(one.name for one in found.costed if one.how == how)
        shown.print(f"{escape(names)}: {escape(how)}")


def print_checkup(found: Checkup) -> None:
    """What a run would do and take."""
    shown, counts = console(), found.counts
    base = found.base
    shown.print(
        f"[bold]{escape(found.project)}[/bold] · base {escape(base.name)}: {base.architecture}, "
        f"{figures.parameters(base.parameters)} parameters, {base.context:,} tokens of context, "
        f"license {base.license or 'not stated'}"
    )
    shown.print(
        f"{counts['documents']:,} documents; {counts['examples']:,} examples: {counts['train']:,} "
        f"to train on, {counts['validation']:,} for validation, {counts['test']:,} held out; "
        f"{found.dropped:,} left out"
    )
    shown.print(
        f"decided on {escape(found.scorer)}, margin {found.margin:g}; a difference of about "
        f"{found.resolvable:.2f} or more can be told"
    )
    for warning in found.warnings:
        shown.print(f"note: {escape(warning)}")
    table = _table("candidate", "customize", "answer", "peak memory", "")
    for one in found.candidates:
        table.add_row(
            escape(one.name),
            figures.duration(one.seconds_to_customize),
            figures.duration(one.seconds_to_answer),
            figures.memory(one.peak_memory_bytes),
            "" if one.fits else f"[red]{escape(one.why)}[/red]",
        )
    shown.print(table)
    shown.print(f"about {figures.duration(found.seconds)} in all, at most; nothing was spent")
