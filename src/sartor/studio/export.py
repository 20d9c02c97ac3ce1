"""The report in other forms: Markdown for people, CSV for tables, a model card for a model hub.

Every number is the one of decision.json and of `.sartor/reports/`, unrounded in CSV. Texts of
users and models are data: Markdown's marks in them are escaped, YAML holds them as JSON strings,
and a CSV cell never begins a formula.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sartor import __version__
from sartor.data.cleaning import harmless
from sartor.evaluation.records import Comparison, Decision, Report
from sartor.evaluation.summary import Summary
from sartor.evaluation.trust import UNVALIDATED, said_of
from sartor.studio import figures

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell may begin with that a spreadsheet runs; the last four are full-width."""
SHOWN = 160
"""Characters of a request or an answer."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is exported."""

    project: str
    decision: Decision
    reports: tuple[Report, ...]
    summary: Summary
    currency: str


def exported(told: Told, form: str) -> str:
    """As `md`, `csv` or `model-card`."""
    forms: dict[str, Callable[[Told], str]] = {"md": markdown, "csv": table, "model-card": card}
    return forms[form](told)


def markdown(told: Told) -> str:
    """The verdict and its evidence, without the examples side by side that the page has."""
    parts = [f"# {_plain(told.summary.words.ship)}", *_verdict(told), *_evidence(told)]
    return "\n\n".join(parts) + "\n"


def card(told: Told) -> str:
    """A Hugging Face model card: its metadata (model-index) and the same sections."""
    name = told.summary.subject
    report = next((one for one in told.reports if one.candidate == name), None)
    heading = f"# {_plain(told.project)}" + (f": {_plain(name)}" if name else "")
    parts = [_metadata(told, report), heading, *_verdict(told), *_evidence(told)]
    return "\n\n".join(parts) + "\n"


def table(told: Told) -> str:
    """One line for each candidate and scorer, and each of its slices."""
    to = io.StringIO()
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(
        ["candidate", "technique", "base", "verdict", "scorer", "slice", "mean", "low", "high", "n",
         "difference", "difference_low", "difference_high", "p", "cost_per_answer",
         "seconds_per_answer", "trainable_parameters", "training_seconds", "training_cost",
         "peak_memory_bytes", "note"]
    )  # fmt: skip
    compared = {row.candidate: row for row in told.decision.comparisons}
    for report in told.reports:
        writer.writerows(_lines(report, compared.get(report.candidate), told.decision))
    return to.getvalue()


def _lines(report: Report, row: Comparison | None, decision: Decision) -> Iterator[list[object]]:
    measured = report.measured
    start = [_cell(report.candidate), _cell(measured.technique), _cell(measured.base)]
    start.append(row.verdict if row else "")
    around = [
        measured.cost_per_answer, measured.seconds_per_answer, measured.trainable_parameters,
        measured.training_seconds, measured.training_cost, measured.peak_memory_bytes,
    ]  # fmt: skip
    estimates = [("", name, found) for name, found in report.estimates.items()]
    for place, by_scorer in report.slices.items():
        estimates += [(place, name, found) for name, found in by_scorer.items()]
    for place, scorer, found in estimates:
        decides = row is not None and not place and scorer == decision.criteria.scorer
        gap = [row.difference, row.low, row.high, row.p] if decides and row else [""] * 4
        numbers = [found.mean, found.low, found.high, found.n]
        note = _cell(report.notes.get(scorer, ""))
        yield [*start, _cell(scorer), _cell(place), *numbers, *gap, *around, note]


def _verdict(told: Told) -> list[str]:
    words = told.summary.words
    turns = [f"- {_plain(said)}" for said in words.would_change]
    sections = [
        ("Why", words.why),
        ("How sure", words.how_sure),
        ("What it costs", words.costs),
        ("What it still gets wrong", words.still_wrong),
    ]
    told_so = [f"**{head}.** {_plain(text)}" for head, text in sections if text]
    changing = "\n".join(turns) or "Nothing that was looked at."
    return [*told_so, f"**What would change the answer.**\n\n{changing}"]


def _evidence(told: Told) -> Iterator[str]:
    decision, summary = told.decision, told.summary
    scorer = decision.criteria.scorer
    yield "## Candidates"
    yield (
        f"{decision.n:,} held-out test examples, scored by {_plain(scorer)} from 0 to 1; intervals "
        "are 95 %, differences are paired and corrected by Holm; the margin is "
        f"{decision.criteria.margin:g}."
    )
    yield _table(
        ["candidate", f"{scorer} (95 %)", "against best", "p", "cost per 1,000", "verdict"],
        [_standing(row, told) for row in decision.comparisons],
    )
    if noted := said_of(told.reports):
        yield "\n".join(
            f"- {_plain(f'{scorer} of {names}: {note}')}" for scorer, names, note in noted
        )
    if summary.slices:
        yield f"## Slices of {_plain(summary.subject or '')}, worst first"
        yield _table(
            ["slice", "n", "score", "elsewhere", "p (corrected)", ""],
            [
                [one.slice, str(one.n), f"{one.mean:.3f}", f"{one.rest:.3f}", f"{one.p:.3f}",
                 ("weak" if one.difference < 0 else "strong") if one.finding else ""]
                for one in summary.slices
            ],
        )  # fmt: skip
    if summary.mistakes:
        yield "## Worst answers"
        yield _table(
            ["score", "asked", "said", "right", "id"],
            [
                [f"{one.score:.2f}", *(figures.shortened(text, SHOWN)
                 for text in (one.input, one.output, one.target, one.id))]
                for one in summary.mistakes
            ],
        )  # fmt: skip
    evens = [one for one in summary.break_even if one.requests is not None]
    if evens:
        yield "## Break-even"
        yield "\n".join(f"- {_plain(one.says)}" for one in evens)
    yield f"Made by sartor {__version__}."


def _standing(row: Comparison, told: Told) -> list[str]:
    report = next((one for one in told.reports if one.candidate == row.candidate), None)
    found = report.estimates.get(told.decision.criteria.scorer) if report else None
    cost = report.measured.cost_per_answer if report else None
    against = row.is_of_two
    return [
        row.candidate,
        f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})" if found else "-",
        f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})" if against else "-",
        f"{row.p:.3g}" if against else "-",
        figures.cost_per_thousand(cost, told.currency),
        row.verdict,
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell if cell == "---" else _plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """On one line, none of its characters a mark of Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", harmless(" ".join(text.split())))


def _cell(text: str) -> str:
    """Spreadsheets run what begins like a formula; an apostrophe makes it text."""
    plain = harmless(text)
    return f"'{plain}" if text.startswith(FORMULA) else plain


def _metadata(told: Told, report: Report | None) -> str:
    """YAML, whose texts are JSON strings: YAML 1.2 reads them as they are."""
    lines = ["---", "tags:", "- sartor"]
    if report:
        measured = report.measured
        if "/" in measured.base and not measured.base.startswith((".", "/", "~")):
            lines.append(f"base_model: {json.dumps(measured.base)}")
        lines += ["model-index:", f"- name: {json.dumps(report.candidate)}", "  results:"]
        lines += ["  - task:", "      type: text-generation", "    dataset:"]
        lines += [f"      name: {json.dumps(told.project + ' (held-out test part)')}"]
        lines += ["      type: private", "    metrics:"]
        for name, found in report.estimates.items():
            lines += [f"    - type: {json.dumps(name)}", f"      value: {found.mean!r}"]
            interval = f"95 % interval {found.low:.4f} to {found.high:.4f}, n = {found.n}"
            if report.notes.get(name, "").startswith(UNVALIDATED):
                interval += f", {UNVALIDATED} judge"
            lines.append(f"      name: {json.dumps(f'{name} ({interval})')}")
    return "\n".join([*lines, "---"])
