"""Slices on which a candidate does worse or better than on the rest, and whether that is noise.

Of many slices some look bad by luck. All are tested together: scores are dealt out anew 10,000
times, for all slices alike, and a slice's p is how often the largest contrast (slice against rest)
of them all got as far as its own did (Westfall and Young 1993, "Resampling-Based Multiple Testing",
single step). That holds the chance of any false finding at 5 % however slices overlap. Whole groups
are dealt, so examples on one document do not count twice; where slices run through groups, the
signs of the groups' shares are flipped instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartor.data.records import Example
from sartor.evaluation.bootstrap import RESAMPLES, chunks, group_index
from sartor.evaluation.estimate import group_of
from sartor.evaluation.slicing import SMALLEST_SLICE, slices
from sartor.evaluation.statistics import holm

LEVEL = 0.05
_MANY = 2_000
"""Groups; from there on the sums are normal to a hair, and Holm's correction is used."""


@dataclass(frozen=True, slots=True)
class SliceFinding:
    """One slice of one candidate's answers against the rest of them."""

    slice: str
    n: int
    mean: float
    rest: float
    """Mean over all other examples."""
    difference: float
    """mean - rest; negative is a weakness."""
    p: float
    """Two-sided, corrected for all slices together."""
    finding: bool
    """Whether it is more than noise."""


def slice_findings(
    examples: Sequence[Example], scored: Mapping[str, float], seed: int
) -> tuple[SliceFinding, ...]:
    """Every slice with its p, worst mean first; `scored` by example id."""
    kept = [example for example in examples if example.id in scored]
    members = {
        name: inside
        for name, inside in slices(kept).items()
        if SMALLEST_SLICE <= len(inside) < len(kept)
    }
    if not members:
        return ()
    values = np.array([scored[example.id] for example in kept])
    places = {example.id: at for at, example in enumerate(kept)}
    inside = np.zeros((len(members), len(kept)), dtype=bool)
    for row, names in zip(inside, members.values(), strict=True):
        row[[places[example.id] for example in names]] = True
    p_values = _corrected(values, inside, group_index([group_of(e) for e in kept], len(kept)), seed)
    found = [
        _finding(name, values, row, float(p))
        for name, row, p in zip(members, inside, p_values, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (one.mean, one.slice)))


def _finding(name: str, values: NDArray[np.float64], row: NDArray[np.bool_], p: float) -> (
    SliceFinding
):  # fmt: skip
    mean, rest = float(values[row].mean()), float(values[~row].mean())
    return SliceFinding(name, int(row.sum()), mean, rest, mean - rest, p, p < LEVEL)


def _corrected(
    values: NDArray[np.float64], inside: NDArray[np.bool_], groups: NDArray[np.intp], seed: int
) -> NDArray[np.float64]:
    """p of each slice, corrected for all."""
    total = int(groups.max()) + 1
    sizes = np.bincount(groups, minlength=total)
    members = np.stack([np.bincount(groups, weights=row, minlength=total) for row in inside])
    whole = bool(((members == 0) | (members == sizes)).all())
    off: NDArray[np.float64] = values - values.mean()
    weights: NDArray[np.float64]
    dealt: NDArray[np.float64]
    if whole:
        weights = members / sizes - inside.mean(axis=1, keepdims=True)  # (slices, groups)
        dealt = np.asarray(np.bincount(groups, weights=off, minlength=total), np.float64)
        spread = np.sqrt((weights**2).sum(axis=1) * (dealt**2).mean())
    else:
        shares = (inside - inside.mean(axis=1, keepdims=True)) * off
        weights = np.stack([np.bincount(groups, weights=row, minlength=total) for row in shares])
        dealt = np.ones(total)
        spread = np.sqrt((weights**2).sum(axis=1))
    spread[spread < 1e-12] = np.inf
    weights = weights / spread[:, None]
    reached = np.abs(weights @ dealt)
    if total > _MANY:
        from scipy.special import ndtr

        return np.array(holm([float(2 * ndtr(-one)) for one in reached]))
    random, extreme = np.random.default_rng(seed), np.zeros(len(weights))
    for rows in chunks(RESAMPLES, total):
        drawn: NDArray[np.float64]
        if whole:
            drawn = np.asarray(random.permuted(np.broadcast_to(dealt, (rows, total)), axis=1))
        else:
            drawn = random.integers(0, 2, size=(rows, total)).astype(np.float64) * 2.0 - 1
        most = np.abs(drawn @ weights.T).max(axis=1)  # (rows,)
        extreme += (most[:, None] >= reached - 1e-9).sum(axis=0)
    return (extreme + 1) / (RESAMPLES + 1)
