"""How far scores can be trusted, as their scorers say: what stands wherever the scores stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sartor.evaluation.mistakes import WRONG
from sartor.evaluation.records import Criteria, Report

UNVALIDATED = "unvalidated"
"""How the note of a judge begins that nobody has held against an expert, or that failed there."""


def said_of(reports: Iterable[Report]) -> list[tuple[str, str, str]]:
    """Scorer, candidates, note; what is said of several candidates once."""
    said: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        for scorer, note in report.notes.items():
            said.setdefault((scorer, note), []).append(report.candidate)
    return [(scorer, ", ".join(names), note) for (scorer, note), names in sorted(said.items())]


def got_nothing_right(report: Report | None, scorer: str) -> bool:
    """Whether it was scored, and every answer got 0: whoever came first with that is not fit."""
    found = report.estimates.get(scorer) if report else None
    return found is not None and found.mean == 0


def mostly_wrong(report: Report | None, criteria: Criteria) -> str:
    """What to say where most answers of the one that comes first score below `WRONG`, and nobody
    has said what would be good enough; empty for any other."""
    if report is None or criteria.at_least is not None:
        return ""
    values = [score.value for score in report.scores if score.scorer == criteria.scorer]
    bad = sum(value < WRONG for value in values)
    if 2 * bad <= len(values) or got_nothing_right(report, criteria.scorer):
        return ""
    return (
        f"Most answers of {report.candidate} scored below {WRONG} by {criteria.scorer}: {bad:,} of "
        f"{len(values):,}. It came first, which does not make it good: read some "
        "answers, and say with [criteria] at_least what would be."
    )


def doubt(reports: Sequence[Report], scorer: str) -> str:
    """What to say beside a verdict whose scores say little; empty for any other."""
    if any(report.notes.get(scorer, "").startswith(UNVALIDATED) for report in reports):
        return (
            f"All of this rests on {scorer}, a judge that is {UNVALIDATED}: whether it sees what "
            "an expert would see is not known."
        )
    means = [report.estimates[scorer].mean for report in reports if scorer in report.estimates]
    if means and max(means) == 0:
        return (
            f"Every answer of every candidate scored 0 by {scorer}: nothing here is fit to ship. "
            "Read some answers, and see whether that scorer suits them."
        )
    return ""
