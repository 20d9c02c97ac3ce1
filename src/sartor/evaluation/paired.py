"""Two candidates on the same examples: the difference, its interval, and how sure that is.

Right or wrong: exact McNemar, and of Newcombe's and Tango's intervals the further limits (each is
sure enough only on one side when nearly all that differ differ one way; together they are on both).
Graded scores, or examples in groups: the sign-flip test and the bootstrap over groups. Candidates
trained with several seeds: seeds.py, which resamples those too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt

import numpy as np

from sartor.evaluation.bootstrap import RESAMPLES, Bootstrap, sign_flip_p, standard_error
from sartor.evaluation.level import LEVEL, Family, Level
from sartor.evaluation.seeds import Seeded
from sartor.evaluation.statistics import (
    Interval,
    equals_needed,
    examples_needed,
    groups_needed,
    mcnemar,
    newcombe,
    tango,
)

Seeds = tuple[tuple[float, ...], ...]

BOUNDS = (-1.0, 1.0)
"""Of a difference of scores: on examples not seen, one may be wholly right and the other wrong."""


@dataclass(frozen=True)
class Paired:
    """Scores of two candidates, example by example; the difference is (first - second)."""

    first: tuple[float, ...]
    second: tuple[float, ...]
    groups: tuple[Hashable, ...] | None = None
    """What is resampled as a whole; None when each example stands for itself."""
    seed: int = 0
    seeds: tuple[Seeds, Seeds] | None = None
    """Scores by seed, (seeds, examples) of each, where either was trained with several."""
    resamples: int = RESAMPLES

    @property
    def n(self) -> int:
        return len(self.first)

    @cached_property
    def difference(self) -> float:
        return sum(self._differences) / self.n

    @cached_property
    def p(self) -> float:
        """Two-sided, that there is no difference."""
        if self._seeded:
            return self._seeded.p()
        if self._is_table:
            return mcnemar(self._count(1, 0), self._count(0, 1))
        return sign_flip_p(self._differences, groups=self.groups, seed=self.seed)

    def p_among(self, family: Family, left: float) -> float:
        """The same, that any of the comparisons that are left of a family looks like this."""
        if self._seeded:
            return self._seeded.p(family, left)
        return min(1.0, self.p * left * family.pairs)

    def interval(self, level: Level = LEVEL) -> Interval:
        """Of the true difference; always holds the one observed."""
        if level not in self._intervals:
            self._intervals[level] = self._interval(level)
        return self._intervals[level]

    @cached_property
    def _intervals(self) -> dict[Level, Interval]:
        """Those made already."""
        return {}

    def _interval(self, level: Level) -> Interval:
        alpha = level.alpha
        if self._seeded:
            found = self._seeded.interval(level)
        elif self._is_table:
            cells = (self._count(1, 1), self._count(1, 0), self._count(0, 1), self._count(0, 0))
            one, other = newcombe(*cells, alpha), tango(*cells, alpha)
            found = Interval(min(one.low, other.low), max(one.high, other.high))
        else:
            found = self._bootstrap.interval(alpha, BOUNDS)
        return Interval(min(found.low, self.difference), max(found.high, self.difference))

    @cached_property
    def sd(self) -> float:
        """Of the differences, as if independent; never less than if one example turned."""
        if self._seeded:
            error = self._seeded.error
        else:
            error = standard_error(self._differences, self.groups)
        return max(error * sqrt(self.n), 1 / sqrt(self.n))

    def label_more(
        self, margin: float, level: Level = LEVEL, upper: Level | None = None
    ) -> int | None:
        """About how many more examples would show it good enough, or else worse (80 % power).

        Examples of groups not seen yet, where there are groups: more of the same tell little. None
        where no number of them would, because seeds differ by more than that. `upper` is the
        level at which worse is shown, where that is another.
        """
        low, high = BOUNDS
        ways = (
            (self.difference + margin, self.difference - low, level),  # to the margin; to the worst
            (-self.difference, high - self.difference, upper or level),  # to none; to best
        )
        found = [self._needed(*way) for way in ways if way[0] > 0]
        needed = [one for one in found if one is not None]
        return max(1, min(needed) - self.n) if needed else None

    def _needed(self, distance: float, room: float, level: Level) -> int | None:
        """Examples whose interval falls short of `distance`, by spread and by what none shows."""
        sd = self.sd
        if self._seeded:
            left = distance**2 - self._seeded.reach_of_seeds(level) ** 2
            if left <= 0:
                return None
            distance = sqrt(left)
            sd = max(self._seeded.error_by_examples * sqrt(self.n), 1 / sqrt(self.n))
        by_spread = examples_needed(distance, sd, level.alpha) or 0
        if self._is_table:
            return max(by_spread, equals_needed(distance, level.alpha))
        each = self.n / (len(set(self.groups)) if self.groups else self.n)
        return max(by_spread, ceil(each * groups_needed(distance, room, level.alpha)))

    @cached_property
    def _differences(self) -> tuple[float, ...]:
        return tuple(a - b for a, b in zip(self.first, self.second, strict=True))

    @cached_property
    def _bootstrap(self) -> Bootstrap:
        return Bootstrap(np.array(self._differences), self.groups, self.resamples, self.seed)

    @cached_property
    def _seeded(self) -> Seeded | None:
        if self.seeds is None:
            return None
        first, second = (np.array(rows) for rows in self.seeds)
        return Seeded(first, second, self.groups, BOUNDS, self.seed)

    @cached_property
    def _is_table(self) -> bool:
        return self.groups is None and set(self.first) | set(self.second) <= {0.0, 1.0}

    def _count(self, first: int, second: int) -> int:
        return sum((a, b) == (first, second) for a, b in zip(self.first, self.second, strict=True))


def pair(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[Hashable],
    seed: int,
    seeds: tuple[Seeds, Seeds] | None = None,
) -> Paired:
    """Pair two candidates' scores; groups matter only where they repeat, seeds where several."""
    repeated = len(set(groups)) < len(groups)
    several = seeds if seeds and max(map(len, seeds)) > 1 else None
    return Paired(tuple(first), tuple(second), tuple(groups) if repeated else None, seed, several)
