"""How far chance may reach: of one comparison, and of several that share the same seeds.

Every comparison has examples' chance of its own, so its level is divided by how many comparisons
there are (Bonferroni). But the luck of a candidate's seeds is one and the same in all of its
comparisons, however many. So the seeds' share is divided by how many candidates were trained with
several: what neither any one of their Student's t passes, nor any two of them differ by (after
Tukey's range; with each candidate's own variance, as Dunnett 1980, JASA 75:796). That is exact
where variances are alike, and elsewhere known by simulation (benchmarks/seeds.py). Variances
are not pooled: where one candidate's seeds differ more than the others', its intervals would be too
short (docs/decision.md has the table).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_NODES = 500  # of the integral below; 4,000 give the same to three digits
_SURELY = 1e-4  # below it the integral's own error would count


@dataclass(frozen=True, slots=True)
class Level:
    """The chance that an interval may miss the truth."""

    alpha: float = 0.05
    """Two-sided, of this comparison alone."""
    trained: int = 0
    """Candidates trained with several seeds, in all comparisons; 0 where this is the only one."""
    of_seeds: float = 0.05
    """The chance that the luck of any of their seeds may miss it, in any comparison."""

    def by_examples(self, variance: float, freedom: int) -> float:
        """How far their chance may reach, squared."""
        return student(freedom, self.alpha) ** 2 * variance if freedom else 0.0

    def by_seeds(self, variances: Sequence[float], freedom: Sequence[int]) -> float:
        """The same of one or both candidates' seeds: the nearer of what holds this comparison by
        itself and of what holds all comparisons together."""
        total = sum(variances)
        if not total > 0:
            return 0.0
        fewest = min(freedom)  # more seeds of the other prove nothing of the one that has few
        alone = student(welch(variances, [fewest] * len(variances)), self.alpha) ** 2 * total
        if not self.trained:
            return alone
        return min(alone, self.of_any(fewest) ** 2 * total)

    def of_any(self, freedom: int) -> float:
        """Standard errors that neither the luck of any one candidate's seeds reaches, nor what two
        of them differ by."""
        return _joint(freedom, self.trained, self.of_seeds)


@dataclass(frozen=True, slots=True)
class Family:
    """Comparisons of candidates with the best, whose claims are to hold together."""

    pairs: float = 1.0
    """For each comparison, the pairs that it could have been of, had another one been the best."""
    trained: int = 0
    """Candidates trained with several seeds."""
    seeded: float = 1.0
    """The share of all those pairs in which one of them takes part."""

    def level(self, alpha: float, left: float = 1) -> Level:
        """Of each comparison, where `alpha` is of any of those that are left."""
        return Level(alpha / left / self.pairs, self.trained, alpha * self.seeded)


LEVEL = Level()
"""Of a comparison that is made by itself."""
ALONE = Family()


def with_best(seeded: Mapping[str, bool], best: str) -> Family:
    """Comparisons with this one, whoever else might have been best; `seeded` says who was trained
    with several seeds."""
    others = [several for name, several in seeded.items() if name != best]
    share = 1.0 if seeded[best] else sum(others) / max(1, len(others))
    return Family(1.0, sum(seeded.values()), share)


def with_any(seeded: Mapping[str, bool]) -> Family:
    """Comparisons with whoever came out best."""
    k, once = len(seeded), len(seeded) - sum(seeded.values())
    return Family(k / 2, k - once, 1 - once * (once - 1) / max(1, k * (k - 1)))


def welch(variances: Sequence[float], freedom: Sequence[int]) -> float:
    """Degrees of freedom of a sum of variances: Satterthwaite 1946, Biometrics Bulletin 2:110;
    Welch 1947, Biometrika 34:28."""
    parts = sum(v**2 / f for v, f in zip(variances, freedom, strict=True))
    return sum(variances) ** 2 / parts


def student(freedom: float, alpha: float) -> float:
    """The two-sided quantile of Student's t."""
    from scipy.special import stdtrit

    return float(-stdtrit(freedom, alpha / 2))


@lru_cache(maxsize=4096)
def _joint(freedom: int, trained: int, alpha: float) -> float:
    """What none of so many independent Student's t is beyond, nor any two of them apart by more
    than the root of two times, but with a chance of alpha."""
    from scipy.optimize import brentq

    one = student(freedom, alpha)
    if trained == 1:
        return one
    most = student(freedom, alpha / trained**2)  # Bonferroni over those and their pairs
    if alpha < _SURELY or _passed(most, freedom, trained) >= alpha:
        return most
    return float(brentq(lambda c: _passed(c, freedom, trained) - alpha, one, most, rtol=1e-6))


def _passed(c: float, freedom: int, trained: int) -> float:
    """The chance that it is. The least of them is at x, and the others within reach of it."""
    from scipy.special import stdtr, stdtrit

    start, end = stdtr(freedom, -c), stdtr(freedom, c)
    below = start + (end - start) * (np.arange(_NODES) + 0.5) / _NODES
    furthest = np.minimum(stdtrit(freedom, below) + np.sqrt(2) * c, c)
    others = stdtr(freedom, furthest) - below
    return float(1 - (end - start) * trained * np.mean(others ** (trained - 1)))
