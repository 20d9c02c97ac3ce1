"""Which examples are worth a place on the page: the worst, the disputed, and some ordinary ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.evaluation.records import Prediction, Report, Score
from sartor.studio.standing import Standing

_WORST, _DISPUTED = 0.5, 0.35
"""Shares of the page; what is left shows ordinary examples, spread evenly over the rest."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One report, by example, with the scores that decide."""

    standing: Standing
    predictions: dict[str, Prediction]
    scores: dict[str, Score]


def answered_by(row: Standing, report: Report, scorer: str) -> Answered:
    """The first of several answers to one example (seeds) stands for it."""
    predictions = {one.example.id: one for one in reversed(report.predictions)}
    scores = {one.example_id: one for one in reversed(report.scores) if one.scorer == scorer}
    ordered = {one.example.id: predictions[one.example.id] for one in report.predictions}
    return Answered(row, ordered, scores)


def value(one: Answered, key: str) -> float | None:
    """What the example scored; None where it was not scored."""
    score = one.scores.get(key)
    return score.value if score and math.isfinite(score.value) else None


def chosen(
    keys: Sequence[str], answered: Sequence[Answered], looked_at: Standing | None, most: int
) -> list[str]:
    """At most so many examples, those that `looked_at` answered worst first."""
    interests = {key: _interest(key, answered, looked_at) for key in keys}
    worst_first = sorted(keys, key=lambda key: interests[key])
    if len(worst_first) <= most:
        return worst_first
    worst, rest = worst_first[: round(most * _WORST)], worst_first[round(most * _WORST) :]
    rest.sort(key=lambda key: (interests[key][1], interests[key]))
    disputed, rest = rest[: round(most * _DISPUTED)], rest[round(most * _DISPUTED) :]
    room = most - len(worst) - len(disputed)
    ordinary = [rest[at * len(rest) // room] for at in range(room)]
    return sorted([*worst, *disputed, *ordinary], key=lambda key: interests[key])


def _interest(
    key: str, answered: Sequence[Answered], looked_at: Standing | None
) -> tuple[float, float, str]:
    """Its score for the one looked at, the spread of all scores (negative), and a tie-break.

    The digest mixes kinds of questions, whose ids often start alike.
    """
    values = [known for one in answered if (known := value(one, key)) is not None]
    own = [value(one, key) for one in answered if one.standing is looked_at]
    spread = max(values) - min(values) if values else 0.0
    mixed = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
    return (next((known for known in own if known is not None), 1.0), -spread, mixed)
