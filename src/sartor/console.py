"""What people see in the terminal: progress, and tables. All of it goes to stderr.

On a terminal work is shown as bars; elsewhere as a line when it ends, and now and then meanwhile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape as without_markup
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
from sartor.costed import Costs
from sartor.data.cleaning import harmless
from sartor.evaluation.compare import Difference
from sartor.evaluation.given import is_given
from sartor.evaluation.history import Run
from sartor.evaluation.reasons import settled_by
from sartor.evaluation.trust import said_of
from sartor.models.catalogue import Memory, Shortlist
from sartor.outcome import TO_LABEL, Outcome
from sartor.progress import Task
from sartor.studio import figures

WIDTH = 150
"""Columns of a table where there is no terminal."""
EVERY_SECONDS = 30.0
"""How often long work tells of itself where there is no terminal."""


def escape(text: str) -> str:
    """As it stands: neither rich's marks nor control characters in it do anything."""
    return without_markup(harmless(text))


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
            _per_thousand(measured.cost_per_answer),
            figures.seconds(measured.seconds_per_answer),
            figures.memory(measured.peak_memory_bytes),
            figures.parameters(None if is_given(report) else measured.trainable_parameters),
            figures.duration(None if is_given(report) else measured.training_seconds),
            verdict,
            style="bold green" if verdict == "winner" else None,
        )
    for row in outcome.decision.comparisons:
        if row.verdict == "stopped":
            table.add_row(escape(row.candidate), *["-"] * 6, "stopped")
    shown = console()
    shown.print(table)
    for said in outcome.not_tried:
        shown.print(escape(said))
    _print_words(shown, outcome)
    if outcome.looks > 1:
        shown.print(
            f"[dim]looks:[/dim] this test part was looked at {outcome.looks} times; each makes the "
            "result a little kinder than the truth"
        )
    for noted, names, note in said_of(outcome.reports):
        if noted == scorer:
            shown.print(escape(f"{scorer} of {names}: {note}"))
    if outcome.page.is_file():
        shown.print(f"report: {escape(str(outcome.page))}")


SHOWN_LEFT_OUT = 5
"""Of what was left out of the data; the report has all."""
SHOWN_MISTAKES = 3
"""Of the ten that decision.json and the report have."""


def _print_words(shown: Console, outcome: Outcome) -> None:
    """The verdict in sentences, and the worst mistakes."""
    summary, words = outcome.summary, outcome.summary.words
    shown.print(f"[bold]{escape(words.ship)}[/bold]")
    for head, text in (
        ("why", words.why),
        ("how sure", words.how_sure),
        ("costs", words.costs),
        ("still wrong", words.still_wrong),
    ):
        if text:
            shown.print(f"[dim]{head}:[/dim] {escape(text)}")
    for one in summary.mistakes[:SHOWN_MISTAKES]:
        asked, said = figures.shortened(one.input, 60), figures.shortened(one.output, 50)
        right = figures.shortened(one.target, 50)
        shown.print(escape(f"  {one.score:.2f}  {asked} · said: {said or '-'} · right: {right}"))
    for text in words.would_change or ("nothing that was looked at.",):
        shown.print(f"[dim]would change the answer:[/dim] {escape(text)}")
    if summary.label_next:
        where = outcome.page.parent / ".sartor" / TO_LABEL
        shown.print(f"[dim]what to label next:[/dim] {escape(str(where))}")


def print_difference(found: Difference) -> None:
    """One candidate against another, in a sentence."""
    gap = f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f}, 95 %)"
    said = {
        "better": f"{found.candidate} is better than {found.against}",
        "worse": f"{found.candidate} is worse than {found.against}",
        "non-inferior": f"{found.candidate} is as good as {found.against}, within the margin of "
        f"{found.margin:g}",
        "cannot tell": f"cannot tell {found.candidate} from {found.against}",
    }[found.verdict]
    if found.verdict == "cannot tell":
        said = f"{said}. {settled_by(found.label_more, found.difference, 'it')}".rstrip()
    shown = console()
    shown.print(f"[bold]{escape(said)}[/bold]")
    shown.print(
        escape(
            f"{found.scorer}: {gap} on {found.n:,} examples that both answered, p = {found.p:.2g}"
        )
    )
    for _, names, note in found.notes:
        shown.print(escape(f"{found.scorer} of {names}: {note}"))


def print_history(runs: Sequence[Run]) -> None:
    """Each run, and what each change did on validation."""
    shown = console()
    for run in runs:
        winner = run.decision.winner or "no winner"
        title = f"run {run.number} · {run.at} · base {run.base} · {winner}"
        shown.print(f"[bold]{escape(title)}[/bold]")
        shown.print(f"data {run.data[:12]}; looks at this test part so far: {run.looks}")
        noted: list[str] = []
        table = _table("candidate", "changed", f"validation {run.scorer}", "effect", "cost/1,000")
        for entry in run.entries:
            value, effect = entry.validation, entry.effect
            noted += [entry.note] if entry.note else []
            table.add_row(
                escape(entry.candidate),
                escape("; ".join(entry.changed)) or "-",
                f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})" if value else "-",
                f"{effect.difference:+.3f} ({effect.low:+.3f} to {effect.high:+.3f}), "
                f"{effect.verdict}"
                if effect
                else "-",
                _per_thousand(entry.cost_per_answer),
            )
        shown.print(table)
        for note in dict.fromkeys(noted):
            shown.print(escape(f"{run.scorer}: {note}"))


def _per_thousand(cost: float | None) -> str:
    return "-" if cost is None else f"{cost * 1000:.4f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(escape(column), overflow="fold")
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
            escape(model.license_name),
            escape(model.languages),
        )
    shown.print(table)
    if found.left_out:
        shown.print("left out:")
    for model, reasons in found.left_out:
        shown.print(f"  {escape(model.id)}: {escape('; '.join(reasons))}")


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
            escape(figures.money(one.money or None, found.currency)),
            escape(one.note) if one.fits else f"[red]{escape(one.why)}[/red]",
        )
    shown.print(table)
    for how in dict.fromkeys(one.how for one in found.costed):
        names = ", ".join(one.name for one in found.costed if one.how == how)
        shown.print(f"{escape(names)}: {escape(how)}")


def print_checkup(found: Checkup) -> None:
    """What a run would do and take."""
    shown, counts = console(), found.counts
    for base in found.bases:
        kind = f"{base.architecture}, {figures.parameters(base.parameters)} parameters"
        if base.remote is not None:
            kind = f"remote, {base.remote.model} at {base.remote.endpoint}"
        shown.print(
            f"[bold]{escape(found.project)}[/bold] · base {escape(base.name)}: {escape(kind)}, "
            f"{base.context:,} tokens of context, license {escape(base.license or 'not stated')}"
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
    for said in found.left_out[:SHOWN_LEFT_OUT]:
        shown.print(f"left out: {escape(said)}")
    if (more := found.dropped - SHOWN_LEFT_OUT) > 0:
        shown.print(f"left out: {more:,} more; `--json` and the report name them all")
    for warning in found.warnings:
        shown.print(f"note: {escape(warning)}")
    table = _table("candidate", "customize", "answer", "peak memory", "")
    for one in found.candidates:
        table.add_row(
            escape(one.name),
            figures.duration(one.seconds_to_customize),
            figures.duration(one.seconds_to_answer),
            figures.memory(one.peak_memory_bytes),
            escape(one.note) if one.fits else f"[red]{escape(one.why)}[/red]",
        )
    shown.print(table)
    for said in found.not_tried:
        shown.print(escape(said))
    if found.cost:
        shown.print(
            f"remote models: about {escape(figures.money(found.cost, found.currency))} to be paid"
        )
    shown.print(f"about {figures.duration(found.seconds)} in all, at most; nothing was spent")
