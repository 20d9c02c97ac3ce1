"""The report: one HTML file that says what to ship and why, and shows the evidence.

It holds its own style and script, opens from disk without a network (its content policy forbids
one), and reads on a phone and on paper. Everything from documents, examples and models is
hostile until escaped: the templates escape all of it, always.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from sartor.data.records import Dropped
from sartor.evaluation.break_even import BreakEven
from sartor.evaluation.given import TECHNIQUE as GIVEN
from sartor.evaluation.records import Decision, Report
from sartor.evaluation.summary import Summary
from sartor.studio import figures

if TYPE_CHECKING:
    from jinja2 import Environment

    from sartor.studio.curves import Curve

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Counts:
    """How much data there was."""

    documents: int
    train: int
    validation: int
    test: int
    passages: int | None = None
    """None where nothing was cut into passages."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a candidate's answers and scores are, so that each number can be made again."""

    candidate: str
    path: str
    """Relative to the project."""
    sha256: str
    """Of the file, as `sha256sum` prints it."""


@dataclass(frozen=True, slots=True)
class ReportPage:
    """All that the report tells."""

    project: str
    base: str
    """The base model's name."""
    created: str
    """ISO 8601."""
    seed: int
    decision: Decision
    reports: tuple[Report, ...]
    counts: Counts
    looks: int
    """How often the test part was looked at, this time included."""
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[str, ...] = ()
    personal_data: dict[str, int] = field(default_factory=dict)
    """How many of each kind were found."""
    commands: tuple[str, ...] = ()
    """How to repeat it."""
    digests: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    config_text: str = ""
    """sartor.toml as it stood."""
    currency: str = "$"
    curves: tuple[Curve, ...] = ()
    """Of the candidates that were trained."""
    traces: tuple[Trace, ...] = ()
    summary: Summary | None = None
    """What would change the answer, what to label next, and what stands behind that."""


def render(page: ReportPage) -> str:
    """The whole report as one HTML file; the same page gives the same text."""
    template = _environment(page.currency).get_template("report.html")
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", template.render(_told(page)))


def _told(page: ReportPage) -> dict[str, Any]:
    """Everything the templates speak of."""
    from sartor.studio.board import board
    from sartor.studio.curves import charts
    from sartor.studio.gallery import gallery, tag_counts
    from sartor.studio.leavings import leavings
    from sartor.studio.standing import standings, subject
    from sartor.studio.tables import scorer_cells, scorer_names, scorer_notes, slice_table
    from sartor.studio.tradeoff import NARROW, WIDE, tradeoff
    from sartor.studio.verdict import finding

    decision, currency = page.decision, page.currency
    rows = standings(decision, page.reports)
    chosen = subject(decision, rows)
    scorer = decision.criteria.scorer
    shown = gallery(rows, chosen, scorer)
    scorers = scorer_names(rows, scorer)
    return {
        "page": page,
        "decision": decision,
        "criteria": decision.criteria,
        "rows": rows,
        "chosen": chosen,
        "finding": finding(decision, rows, currency),
        "board": board(decision, rows),
        "charts": [tradeoff(decision, rows, size, currency) for size in (WIDE, NARROW)],
        "slices": slice_table(rows, chosen, scorer),
        "scorers": scorers,
        "scored": [(row, scorer_cells(row, scorers, rows)) for row in rows if row.report],
        "scorer_notes": scorer_notes(rows),
        "gallery": shown,
        "tag_counts": tag_counts(shown),
        "curves": charts(page.curves),
        "leavings": leavings(page.dropped),
        "summary": page.summary,
        "findings": {one.slice: one for one in page.summary.slices} if page.summary else {},
        "own_evens": own_evens(page.summary),
    }


def own_evens(summary: Summary | None) -> list[BreakEven]:
    """Break-even volumes there are, those of the candidate looked at first."""
    found = [one for one in summary.break_even if one.requests is not None] if summary else []
    subject = summary.subject if summary else None
    return sorted(found, key=lambda one: subject not in (one.few, one.many))


@cache
def _environment(currency: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sartor.studio"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _filters(currency)
    environment.globals |= {"style": _static("report.css"), "script": _static("report.js")}
    environment.globals["given"] = GIVEN
    return environment


def _filters(currency: str) -> dict[str, Callable[..., str]]:
    return {
        "score": figures.score,
        "difference": figures.difference,
        "points": figures.points,
        "cost": lambda value: figures.cost_per_thousand(value, currency),
        "money": lambda value: figures.money(value, currency),
        "seconds": figures.seconds,
        "duration": figures.duration,
        "memory": figures.memory,
        "parameters": figures.parameters,
        "whole": figures.whole,
        "shortened": figures.shortened,
        "significant": figures.significant,
    }


@dataclass(frozen=True, slots=True)
class _Static:
    """A file of ours put into the page, and the digest by which the content policy allows it."""

    text: str
    digest: str


def _static(name: str) -> _Static:
    text = (files("sartor.studio") / "static" / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return _Static(text, f"sha256-{digest}")
