"""The decision as `.sartor/decision.json` has it. The keys are stable:

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
    verdict           winner, best, non-inferior, worse, cannot tell, refused
    difference, low, high   from the best; the interval is Holm-corrected
    p                 Holm-adjusted
    reason            one sentence
    label_more        test examples that would settle "cannot tell"; else null
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sartor.evaluation.records import Comparison, Decision, Report


def decision_json(decision: Decision, reports: Sequence[Report]) -> dict[str, Any]:
    """Plain values, ready to be written."""
    by_name = {report.candidate: report for report in reports}
    return {
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


def _candidate(row: Comparison, report: Report, scorer: str) -> dict[str, Any]:
    measured, found = report.measured, report.estimates.get(scorer)
    return {
        "name": row.candidate,
        "technique": measured.technique,
        "base": measured.base,
        "estimate": {"mean": found.mean, "low": found.low, "high": found.high} if found else None,
        "note": report.notes.get(scorer, ""),
        "cost_per_answer": measured.cost_per_answer,
        "seconds_per_answer": measured.seconds_per_answer,
        "trainable_parameters": measured.trainable_parameters,
        "training_seconds": measured.training_seconds,
        "peak_memory_bytes": measured.peak_memory_bytes,
        "verdict": row.verdict,
        "difference": row.difference,
        "low": row.low,
        "high": row.high,
        "p": row.p,
        "reason": row.reason,
        "label_more": row.label_more,
    }
