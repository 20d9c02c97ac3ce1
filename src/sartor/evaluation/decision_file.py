"""The decision as `.sartor/decision.json` has it. The keys are stable:

summary               ship, why, how_sure, costs, still_wrong, would_change: sentences
winner, best          names of candidates, or null
reason                one or two sentences
scorer, margin        of the criteria
n                     test examples compared
resolvable            the smallest true difference they can be expected to show
candidates            a list, in the order of the reports:
    name, technique, base
    estimate          mean, low, high (95 %); null when the scorer does not apply
    cost_per_answer, seconds_per_answer
    trainable_parameters, training_seconds, peak_memory_bytes
    verdict           winner, best, non-inferior, worse, cannot tell, refused, stopped
    difference, low, high   from the best; the interval is Holm-corrected; null without a score
    p                 Holm-adjusted; null likewise
    reason            one sentence
    label_more        test examples that would settle "cannot tell"; else null
    note              what must be known of the deciding score to trust it; else empty
looks                 runs that were decided on this test part (outcome.py adds it)
not_tried             a list of candidates that were passed over: name, why (outcome.py adds it)
subject               whose mistakes and slices follow: the winner, else the best
mistakes              its ten worst answers: id, input, target, output, score, explanation
slices                worst first: slice, n, mean, rest, difference, p, finding
changes               what would change the answer: what, candidate, at, now, winner, says
break_even            of any two: few, many, requests, low, high
label_next            what to label: kind, id, text, disagreement, like
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from sartor.data.files import from_json
from sartor.errors import DataError
from sartor.evaluation.records import Comparison, Decision, Report
from sartor.evaluation.summary import Summary


def decision_json(
    decision: Decision, reports: Sequence[Report], summary: Summary | None = None
) -> dict[str, Any]:
    """Plain values, ready to be written."""
    by_name = {report.candidate: report for report in reports}
    told = asdict(summary) if summary else {}
    words = {"summary": told.pop("words")} if summary else {}
    return (
        words
        | {
            "winner": decision.winner,
            "best": decision.best,
            "reason": decision.reason,
            "scorer": decision.criteria.scorer,
            "margin": decision.criteria.margin,
            "n": decision.n,
            "resolvable": decision.resolvable,
            "candidates": [
                _candidate(row, by_name[row.candidate], decision.criteria.scorer)
                for row in decision.comparisons
            ],
        }
        | told
    )


def summary_of(told: dict[str, Any]) -> Summary:
    """The summary that decision.json holds; DataError where it was changed by hand."""
    try:
        names = {field.name for field in fields(Summary)} & told.keys()
        plain = {name: told[name] for name in names} | {"words": told["summary"]}
        return from_json(Summary, json.dumps(plain))
    except (KeyError, ValueError) as error:
        raise DataError(
            "decision.json is not as sartor wrote it: its summary is missing or was changed. "
            "Run again: what is done is not done twice."
        ) from error


def _candidate(row: Comparison, report: Report, scorer: str) -> dict[str, Any]:
    measured = report.measured
    # One that was stopped has an estimate on validation only, which is no estimate of this.
    found = None if row.verdict == "stopped" else report.estimates.get(scorer)
    compared = bool(row.against)
    return {
        "name": row.candidate,
        "technique": measured.technique,
        "base": measured.base,
        "estimate": {"mean": found.mean, "low": found.low, "high": found.high} if found else None,
        "cost_per_answer": measured.cost_per_answer,
        "seconds_per_answer": measured.seconds_per_answer,
        "trainable_parameters": measured.trainable_parameters,
        "training_seconds": measured.training_seconds,
        "peak_memory_bytes": measured.peak_memory_bytes,
        "verdict": row.verdict,
        "difference": row.difference if compared else None,
        "low": row.low if compared else None,
        "high": row.high if compared else None,
        "p": row.p if compared else None,
        "reason": row.reason,
        "label_more": row.label_more,
        "note": report.notes.get(scorer, ""),
    }
