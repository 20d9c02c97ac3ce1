"""One report of a candidate that was trained with several seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np

from sartor.evaluation.corpus import corpus_estimates
from sartor.evaluation.estimate import group_of, slice_estimates
from sartor.evaluation.records import Estimate, Measured, Report, Score
from sartor.evaluation.scorer import Scorer
from sartor.evaluation.seeds import Seeded


def joined(
    name: str, reports: Sequence[Report], seed: int, scorers: Sequence[Scorer] = ()
) -> Report:
    """The reports of all seeds as one, in the order of the seeds; `scorers` are those that it was
    scored by, for their figures of all answers together."""
    first = reports[0]
    by_seed = _by_seed(reports)
    scores = tuple(
        replace(score, value=fmean(by_seed[score.scorer][score.example_id]))
        for score in first.scores
        if score.example_id in by_seed[score.scorer]
    )
    examples = [prediction.example for prediction in first.predictions]
    groups = {example.id: group_of(example) for example in examples}
    values: dict[str, dict[str, float]] = {}
    for score in scores:
        values.setdefault(score.scorer, {})[score.example_id] = score.value
    return Report(
        candidate=name,
        measured=_measured([report.measured for report in reports]),
        predictions=first.predictions,
        scores=scores,
        estimates={
            scorer: _estimate(rows, [groups[id] for id in rows], seed)
            for scorer, rows in by_seed.items()
            if rows
        }
        | corpus_estimates(scorers, [report.predictions for report in reports], seed),
        slices=slice_estimates(examples, values, dict.fromkeys(values, False), seed),
        by_seed=by_seed,
        notes=_notes(reports),
        forgotten=first.forgotten,
    )


def _notes(reports: Sequence[Report]) -> dict[str, str]:
    """The first seed's, and of a scorer that gave some seed nothing, what was said there."""
    notes = dict(reports[0].notes)
    for report in reports:
        scored = {score.scorer for score in report.scores}
        notes |= {name: note for name, note in report.notes.items() if name not in scored}
    return notes


def _by_seed(reports: Sequence[Report]) -> dict[str, dict[str, tuple[float, ...]]]:
    """Examples that every seed has a score for."""
    tables: list[dict[tuple[str, str], Score]] = [
        {(score.scorer, score.example_id): score for score in report.scores} for report in reports
    ]
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for score in reports[0].scores:
        key = (score.scorer, score.example_id)
        rows = found.setdefault(score.scorer, {})
        if all(key in table for table in tables):
            rows[score.example_id] = tuple(table[key].value for table in tables)
    return found


def _estimate(
    rows: dict[str, tuple[float, ...]], groups: Sequence[Hashable], seed: int
) -> Estimate:
    repeated = len(set(groups)) < len(groups)
    one = Seeded(np.array(list(rows.values())).T, None, groups if repeated else None, seed=seed)
    found = one.interval()
    return Estimate(one.mean, min(found.low, one.mean), max(found.high, one.mean), len(rows))


def _measured(all_of: Sequence[Measured]) -> Measured:
    """Of one of them, on average; the memory of the hungriest."""

    def mean(name: str) -> Any:
        return fmean(getattr(one, name) for one in all_of)

    return replace(
        all_of[0],
        seconds_per_answer=mean("seconds_per_answer"),
        cost_per_answer=mean("cost_per_answer"),
        training_seconds=mean("training_seconds"),
        training_cost=mean("training_cost"),
        serving_reach=_reach_of(all_of),
        peak_memory_bytes=max(one.peak_memory_bytes for one in all_of),
    )


def _reach_of(all_of: Sequence[Measured]) -> float | None:
    """Of the mean of what was timed apart."""
    parts = [one.serving_reach for one in all_of]
    known = [part for part in parts if part is not None]
    return math.hypot(*known) / len(known) if len(known) == len(parts) else None
