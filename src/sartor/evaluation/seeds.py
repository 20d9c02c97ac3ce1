"""A mean over examples and over the seeds that a candidate was trained with: how sure it is.

Another seed would have given another model. So there are two levels to resample: the examples (by
group) and, independently, the seeds. A handful of seeds drawn with replacement vary too little, by
(S-1)/S on average, and their means differ by the examples' chance already; what is drawn is
stretched to the variance between seeds alone (Davison and Hinkley 1997, "Bootstrap Methods and
their Application", section 3.8). No end is nearer than Student's t allows, each cause at its own
degrees of freedom: three seeds are few, and no resample of three lies as far out as a fourth may.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sartor.evaluation.bootstrap import RESAMPLES, alike, chunks, group_index
from sartor.evaluation.level import ALONE, LEVEL, Family, Level, student
from sartor.evaluation.statistics import Interval, unseen_share

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Seeded:
    """A mean over examples and over one or two sets of seeds (the second is subtracted)."""

    first: Numbers
    """Scores: (seeds, examples)."""
    second: Numbers | None = None
    """Of the other candidate: (its seeds, the same examples)."""
    groups: Sequence[Hashable] | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    seed: int = 0

    @cached_property
    def mean(self) -> float:
        return float(self._examples.mean())

    @cached_property
    def error(self) -> float:
        """Standard error over both levels."""
        return float(np.sqrt(sum(self._variances)))

    @cached_property
    def error_by_examples(self) -> float:
        """The part of `error` that more examples would make smaller."""
        return float(np.sqrt(self._variances[0]))

    def reach(self, level: Level) -> float:
        """Half the width of the interval: Student's t of each cause at its own freedom, squared and
        added (Zou and Donner 2008, Stat Med 27:1693)."""
        return float(np.sqrt(sum(self._reaches(level))))

    def reach_of_seeds(self, level: Level) -> float:
        """What would be left of it with examples without end."""
        return float(np.sqrt(self._reaches(level)[1]))

    def _reaches(self, level: Level) -> tuple[float, float]:
        """Squared, by cause: the examples, and both candidates' seeds."""
        by_examples, *by_seeds = self._variances
        freedom = [len(rows) - 1 for rows in self._rows if len(rows) > 1]
        first = level.by_examples(by_examples, len(self._sums) - 1)
        return first, level.by_seeds(by_seeds, freedom)

    def p(self, family: Family = ALONE, left: float = 1) -> float:
        """Two-sided, that the true mean is 0: the level, of any of the comparisons that are left of
        a family, whose interval ends there."""
        from scipy.optimize import brentq

        if abs(self.mean) < 1e-12:
            return 1.0
        if self.error < 1e-12:
            return min(1.0, self._p_of_equals * left * family.pairs)

        def beyond(power: float) -> float:
            return self.reach(family.level(float(10**power), left)) - abs(self.mean)

        smallest = -15.0
        if beyond(smallest) < 0:
            return float(10**smallest)
        return float(10 ** brentq(beyond, smallest, 0.0)) if beyond(0.0) < 0 else 1.0

    @property
    def _p_of_equals(self) -> float:
        """Where every example has the same value: only those not seen may bring the mean to 0."""
        floor, ceiling = self.bounds
        furthest = floor if self.mean > 0 else ceiling
        return float(2 * (1 - self.mean / (self.mean - furthest)) ** len(self._sums))

    def interval(self, level: Level = LEVEL) -> Interval:
        """From 10,000 resamples of examples and of seeds; never narrower than n allows."""
        from scipy.special import ndtr

        rare = unseen_share(len(self._sums), level.alpha) * alike(self._sums / self._sizes)
        floor, ceiling = self.bounds
        low = self.mean - rare * max(0.0, self.mean - floor)
        high = self.mean + rare * max(0.0, ceiling - self.mean)
        if self.error > 1e-12 and len(self._sums) > 1:
            n = len(self._sums)
            tail = float(ndtr(-student(n - 1, level.alpha) * np.sqrt(n / (n - 1))))
            below, above = np.quantile(self._resampled, [tail, 1 - tail])
            reach = self.reach(level)  # resamples of a few seeds never lie as far out
            low = min(low, float(below), self.mean - reach)
            high = max(high, float(above), self.mean + reach)
        return Interval(max(low, floor), min(high, ceiling))

    @cached_property
    def _rows(self) -> list[Numbers]:
        return [self.first, *([] if self.second is None else [self.second])]

    @cached_property
    def _examples(self) -> Numbers:
        """Each example's value, over all seeds: (examples,)."""
        first = self.first.mean(axis=0)
        return first if self.second is None else np.asarray(first - self.second.mean(axis=0))

    @cached_property
    def _index(self) -> NDArray[np.intp]:
        return group_index(self.groups, self.first.shape[1])

    @cached_property
    def _sizes(self) -> Numbers:
        return np.bincount(self._index).astype(np.float64)

    @cached_property
    def _sums(self) -> Numbers:
        return np.bincount(self._index, weights=self._examples).astype(np.float64)

    @cached_property
    def _variances(self) -> list[float]:
        """Of the mean, by its causes: the examples, then each set of more than one seed."""
        gaps = self._sums - self.mean * self._sizes
        n, total = len(gaps), float(self._sizes.sum())
        by_examples = float((gaps**2).sum()) * n / max(1, n - 1) / total**2
        return [by_examples, *(_between(rows) for rows in self._rows if len(rows) > 1)]

    @cached_property
    def _resampled(self) -> Numbers:
        random, n = np.random.default_rng(self.seed), len(self._sums)
        parts = []
        for rows in chunks(RESAMPLES, n):
            index = random.integers(0, n, size=(rows, n))
            parts.append(self._sums[index].sum(axis=1) / self._sizes[index].sum(axis=1))
        means = np.concatenate(parts)
        for sign, scores in zip((1, -1), self._rows, strict=False):
            seeds = len(scores)
            if seeds > 1:
                off = scores.mean(axis=1) - scores.mean()
                drawn = off[random.integers(0, seeds, size=(RESAMPLES, seeds))].mean(axis=1)
                spread = float(off.std()) / np.sqrt(seeds)  # of what was drawn
                if spread > 1e-12:
                    means = means + sign * drawn * np.sqrt(_between(scores)) / spread
        return means


def _between(rows: Numbers) -> float:
    """Variance of the mean by the choice of seeds, less what examples make of it already.

    Of two seeds nothing is taken off: they are too few to tell the one from the other.
    """
    seeds, n = rows.shape
    means: Numbers = rows.mean(axis=1)
    varies = float(means.var(ddof=1))
    if seeds == 2:
        return varies / len(rows)
    within = rows - rows.mean(axis=0) - means[:, None] + rows.mean()
    by_chance = float((within**2).sum()) / max(1, (seeds - 1) * (n - 1)) / n
    return float(max(0.0, varies - by_chance) / len(rows))
