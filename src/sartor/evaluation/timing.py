"""How far the measured cost of an answer may be off: machines are never quiet, answers differ.

Answers are timed a batch at a time, and batches are of like lengths. So a batch's seconds are laid
against its tokens: what is left over is the machine's noise, and how answers differ in length adds
what other requests may have needed. What slows a whole run down alike cannot be seen in one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from sartor.evaluation.cost import HOUR
from sartor.evaluation.level import student
from sartor.models.language_model import Completion
from sartor.project import Cost, Remote

FEWEST = 3
"""Batches with which noise can be told from length."""
ALIKE = 1e-9
"""Variance of lengths that are all the same, but for rounding of their mean."""


def serving_reach(
    answers: Sequence[Completion], remote: Remote | None, prices: Cost
) -> float | None:
    """Half the 95 % interval of the cost of serving one more answer, in the project's currency.

    None where too little was timed to say. Tokens are counted and not timed: of a remote model only
    the answers differ.
    """
    if remote is not None:
        paid = np.array([remote.price(each.prompt_tokens, each.new_tokens) for each in answers])
        return _reach(float(paid.std(ddof=1)), len(paid)) if len(paid) > 1 else None
    found = seconds_reach(answers)
    return None if found is None else found * prices.machine_per_hour / HOUR


def seconds_reach(answers: Sequence[Completion]) -> float | None:
    """Half the 95 % interval of an answer's mean seconds; None for fewer than FEWEST batches."""
    batches: dict[float, list[int]] = {}
    for each in answers:  # all of a batch have its seconds, divided by its size
        batches.setdefault(each.seconds, []).append(each.prompt_tokens + each.new_tokens)
    if len(batches) < FEWEST:
        return None
    seconds, sizes = np.array(list(batches)), np.array([len(one) for one in batches.values()])
    tokens = np.array([np.mean(one) for one in batches.values()])
    weights = sizes / sizes.sum()
    spread = tokens - weights @ tokens
    varies = float(weights @ spread**2)
    slope = max(0.0, float(weights @ (spread * seconds)) / varies) if varies > ALIKE else 0.0
    left = seconds - weights @ seconds - slope * spread
    freedom = len(batches) - 2
    noise = float((weights**2) @ left**2) * len(batches) / freedom
    lengths = np.array([n for one in batches.values() for n in one])
    by_length = slope * float(lengths.std(ddof=1)) / sqrt(len(lengths))
    return sqrt((student(freedom, 0.05) * sqrt(noise)) ** 2 + (1.96 * by_length) ** 2)


def _reach(sd: float, n: int) -> float:
    return student(n - 1, 0.05) * sd / sqrt(n)
