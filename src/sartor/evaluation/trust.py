"""How far scores can be trusted, as their scorers say: what stands wherever the scores stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sartor.evaluation.records import Report

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
