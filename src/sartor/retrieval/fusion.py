"""Several rankings made one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

K = TypeVar("K")
RANK_CONSTANT = 60
"""Cormack, Clarke & Buettcher, SIGIR 2009: reciprocal rank fusion with k = 60."""


def reciprocal_rank(rankings: Sequence[Sequence[K]]) -> list[tuple[K, float]]:
    """Keys with the sum of 1 / (60 + rank) over the rankings, best first; ties by first seen."""
    scores: dict[K, float] = defaultdict(float)
    for ranking in rankings:
        for rank, key in enumerate(ranking, 1):
            scores[key] += 1 / (RANK_CONSTANT + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])
