"""What a run came to: leaderboard and verdict in words; one against another; the history."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from sartor.console.screen import console, escape, per_thousand, table_of
from sartor.evaluation.compare import Difference
from sartor.evaluation.given import is_given
from sartor.evaluation.history import Run
from sartor.evaluation.reasons import settled_by
from sartor.evaluation.trust import said_of
from sartor.outcome import TO_LABEL, Outcome
from sartor.studio import figures

SHOWN_MISTAKES = 3
"""Of the ten that decision.json and the report have."""


def print_outcome(outcome: Outcome, currency: str) -> None:
    """The leaderboard, and the verdict."""
    scorer = outcome.decision.criteria.scorer
    table = table_of(
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
            per_thousand(measured.cost_per_answer),
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
        table = table_of("candidate", "changed", f"validation {run.scorer}", "effect", "cost/1,000")
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
                per_thousand(entry.cost_per_answer),
            )
        shown.print(table)
        for note in dict.fromkeys(noted):
            shown.print(escape(f"{run.scorer}: {note}"))
