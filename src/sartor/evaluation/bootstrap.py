"""The bootstrap interval of a mean, and the sign-flip test: for scores between right and wrong.

Examples that belong together (one document, one conversation) are resampled as a whole. The work is
cut into chunks, so memory does not grow with the number of examples times resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sartor.evaluation.level import student
from sartor.evaluation.statistics import Interval, unseen_share

Numbers = NDArray[np.float64]

RESAMPLES = 10_000
MANY = 2_000
"""Groups; beyond, the resamples' distribution is so near its expansion that none are drawn."""
_CHUNK = 2_000_000  # draws held in memory at once: 16 MB of indices


def mean_interval(
    values: Sequence[float] | Numbers,
    *,
    alpha: float = 0.05,
    groups: Sequence[Hashable] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    resamples: int = RESAMPLES,
    seed: int = 0,
    many: int = MANY,
) -> Interval:
    """The interval of a mean, once; `Bootstrap` gives several of the same values."""
    one = Bootstrap(np.asarray(values, np.float64), groups, resamples, seed, many)
    return one.interval(alpha, bounds)


@dataclass(frozen=True)
class Bootstrap:
    """The resampled means of some values, from which intervals of any level are read."""

    values: Numbers
    groups: Sequence[Hashable] | None = None
    resamples: int = RESAMPLES
    seed: int = 0
    many: int = MANY
    """Groups; beyond, no resamples are drawn."""

    def interval(self, alpha: float, bounds: tuple[float, float]) -> Interval:
        """The BCa interval (Efron 1987, JASA 82:171), never narrower than n allows.

        Three honest widenings. The levels are those of Student's t (Hesterberg 2014,
        arXiv:1411.5279, "expanded percentile"), or few examples would look too sure. Each end is
        the further of BCa's and Student's own: where most values tie, the sample's skew is mostly
        noise, and what BCa corrects by it misleads; where they are skewed, Student's end is too
        near. And where values tie, room is left for what n examples cannot show: a share of the
        population none of them belongs to (`unseen_share`), whose values may lie at `bounds`.
        Equal values get no point, but an interval.
        """
        sums, sizes = self._groups
        mean, total = sums.sum() / sizes.sum(), len(sums)
        rare = unseen_share(total, alpha) * alike(sums / sizes)
        low = mean - rare * max(0.0, mean - bounds[0])
        high = mean + rare * max(0.0, bounds[1] - mean)
        if total > 1 and np.ptp(self._jackknife) > 1e-12:
            below, above = self._bca(alpha)
            reach = student(total - 1, alpha) * standard_error(self.values, self.groups)
            low, high = min(low, below, mean - reach), max(high, above, mean + reach)
        return Interval(float(max(low, bounds[0])), float(min(high, bounds[1])))

    def _bca(self, alpha: float) -> tuple[float, float]:
        sums, sizes = self._groups
        mean = float(sums.sum() / sizes.sum())
        if len(sums) > self.many:
            return _expanded(sums - mean * sizes, float(sizes.sum()), mean, alpha)
        below, above = np.quantile(
            self._means, _bca_levels(self._means, mean, self._jackknife, alpha)
        )
        return float(below), float(above)

    @cached_property
    def _groups(self) -> tuple[Numbers, Numbers]:
        return _by_group(self.values, self.groups)

    @cached_property
    def _jackknife(self) -> Numbers:
        return _without_each(*self._groups)

    @cached_property
    def _means(self) -> Numbers:
        return _resampled_means(*self._groups, self.resamples, np.random.default_rng(self.seed))


def alike(values: Numbers) -> float:
    """The share of values that are just like most: 1 where all are, 0 where no two are.

    Where values differ throughout, their spread shows what others may be; where nearly all are
    equal, what differs is rare, and n of them may have missed most of it.
    """
    if len(values) < 2:
        return 1.0
    _, counts = np.unique(np.round(values, 9), return_counts=True)
    return float((counts.max() - 1) / (len(values) - 1))


def standard_error(values: Sequence[float] | Numbers, groups: Sequence[Hashable] | None) -> float:
    """Of the mean, by the jackknife over groups; 0 when fewer than two groups."""
    sums, sizes = _by_group(np.asarray(values, dtype=np.float64), groups)
    if len(sums) < 2:
        return 0.0
    jackknife = _without_each(sums, sizes)
    spread = ((jackknife - jackknife.mean()) ** 2).sum()
    return float(np.sqrt((len(sums) - 1) / len(sums) * spread))


def sign_flip_p(
    differences: Sequence[float] | Numbers,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """Two-sided p that paired differences are as likely up as down; groups flip as a whole.

    Exact up to 13 differences that are not 0; beyond, from `resamples` draws, counting the
    observed one among them (Phipson and Smyth 2010, arXiv:1603.05766), so it is never 0. Of more
    than MANY the sum of flipped signs is normal.
    """
    sums, _ = _by_group(np.asarray(differences, dtype=np.float64), groups)
    sums = sums[np.abs(sums) > 1e-12]
    if not len(sums):
        return 1.0
    reached = abs(sums.sum()) - 1e-9
    if len(sums) <= 13:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(sums))))
        return float(np.mean(np.abs(signs @ sums) >= reached))
    if len(sums) > MANY:
        from scipy.special import ndtr

        return float(2 * ndtr(-abs(sums.sum()) / np.sqrt((sums**2).sum())))
    random, extreme = np.random.default_rng(seed), 0
    for rows in chunks(resamples, len(sums)):
        signs = random.integers(0, 2, size=(rows, len(sums)), dtype=np.int8) * 2.0 - 1
        extreme += int((np.abs(signs @ sums) >= reached).sum())
    return (extreme + 1) / (resamples + 1)


def _by_group(values: Numbers, groups: Sequence[Hashable] | None) -> tuple[Numbers, Numbers]:
    """The sum and the number of the values of each group; each value alone without groups."""
    if groups is None:
        return values, np.ones(len(values))
    index = group_index(groups, len(values))
    sizes: Numbers = np.bincount(index).astype(np.float64)
    sums: Numbers = np.bincount(index, weights=values).astype(np.float64)
    return sums, sizes


def group_index(groups: Sequence[Hashable] | None, n: int) -> NDArray[np.intp]:
    """The number of each example's group, in the order they first come; its own without groups."""
    if groups is None:
        return np.arange(n, dtype=np.intp)
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return np.array([places[group] for group in groups], dtype=np.intp)


def _without_each(sums: Numbers, sizes: Numbers) -> Numbers:
    return np.asarray((sums.sum() - sums) / (sizes.sum() - sizes))


def _resampled_means(
    sums: Numbers, sizes: Numbers, resamples: int, random: np.random.Generator
) -> Numbers:
    """Means of samples of groups drawn with replacement: (resamples,)."""
    n = len(sums)
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    few = len(counts) * 20 < n  # drawing how often each kind occurs is then the quicker way
    parts = []
    for rows in chunks(resamples, len(counts) if few else n):
        if few:
            drawn = random.multinomial(n, counts / n, size=rows)  # (rows, kinds)
            parts.append((drawn @ kinds[0]) / (drawn @ kinds[1]))
        else:
            index = random.integers(0, n, size=(rows, n))
            parts.append(sums[index].sum(axis=1) / sizes[index].sum(axis=1))
    return np.concatenate(parts)


def _bca_levels(means: Numbers, mean: float, jackknife: Numbers, alpha: float) -> list[float]:
    """Which quantiles of the resampled means bound the interval."""
    from scipy.special import ndtr, ndtri

    n, edge = len(jackknife), 0.5 / len(means)
    below = np.mean(means < mean) + np.mean(means == mean) / 2
    bias = ndtri(np.clip(below, edge, 1 - edge))
    gaps = jackknife.mean() - jackknife
    skew = (gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5)
    reach = student(n - 1, alpha) * np.sqrt(n / (n - 1))
    shifts = [bias - reach, bias + reach]
    return [float(ndtr(bias + s / max(1 - skew * s, 1e-3))) for s in shifts]


def _expanded(gaps: Numbers, total: float, mean: float, alpha: float) -> tuple[float, float]:
    """The BCa ends from the resamples' own cumulants: Cornish and Fisher 1938, to first order.

    The mean of n draws from the groups has the groups' skewness over the root of n, which is what
    bias and acceleration come from as well (Efron 1987, section 7). `gaps` are each group's sum
    less what the mean would make it.
    """
    error = float(np.sqrt((gaps**2).sum())) / total
    skew = float((gaps**3).sum()) / float((gaps**2).sum()) ** 1.5
    push, n = skew / 6, len(gaps)
    reach = student(n - 1, alpha) * np.sqrt(n / (n - 1))
    ends = []
    for side in (-reach, reach):
        z = push + (push + side) / max(1 - push * (push + side), 1e-3)
        ends.append(mean + error * (z + push * (z**2 - 1)))
    return ends[0], ends[1]


def chunks(resamples: int, width: int) -> list[int]:
    """Row counts that add up to `resamples`, each small enough to hold in memory."""
    rows = max(1, _CHUNK // max(1, width))
    whole, rest = divmod(resamples, rows)
    return [rows] * whole + ([rest] if rest else [])
