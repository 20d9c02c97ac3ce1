"""The closed formulas of evaluation: intervals and tests of right and wrong, Holm, sample sizes.

The distributions are scipy's. Everything two-sided; `alpha` = 0.05 is a 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true value may well lie."""

    low: float
    high: float


def wilson(right: int, n: int, alpha: float = 0.05) -> Interval:
    """Of a proportion: Wilson, JASA 22 (1927), p. 209. Nothing seen, nothing known: 0 to 1."""
    if n == 0:
        return Interval(0.0, 1.0)
    z2 = _z(alpha / 2) ** 2
    p = right / n
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if right == 0 else max(0.0, middle - reach)
    high = 1.0 if right == n else min(1.0, middle + reach)
    return Interval(low, high)


def newcombe(
    both: int, first_only: int, second_only: int, neither: int, alpha: float = 0.05
) -> Interval:
    """Of the difference (first - second) of two paired proportions.

    Newcombe 1998, Stat Med 17:2635, method 10: Wilson's intervals of each, joined through their
    correlation, with his continuity correction. Arguments count the examples that both got right,
    only the first, only the second, neither.
    """
    n = both + first_only + second_only + neither
    if n == 0:
        return Interval(-1.0, 1.0)
    p, q = (both + first_only) / n, (both + second_only) / n
    one, two = wilson(both + first_only, n, alpha), wilson(both + second_only, n, alpha)
    phi = _correlation(both, first_only, second_only, neither)
    down = _joined(p - one.low, two.high - q, phi)
    up = _joined(one.high - p, q - two.low, phi)
    return Interval(max(-1.0, p - q - down), min(1.0, p - q + up))


def tango(both: int, first_only: int, second_only: int, neither: int, alpha: float) -> Interval:
    """Of the same difference, by inverting the score test: Tango 1998, Stat Med 17:891.

    Its tails hold where a difference is tested against a margin and one candidate is hardly ever
    alone in being right; Newcombe's lower limit is passed there twice too often.
    """
    from scipy.optimize import brentq

    n, z = both + first_only + second_only + neither, _z(alpha / 2)
    edge, found = 1 - 1e-9, (first_only - second_only) / n if n else 0.0

    def above(difference: float, limit: float) -> float:
        return _score(difference, first_only, second_only, n) - limit

    low, high = -1.0, 1.0
    if n and found > -edge and above(-edge, z) > 0:
        low = brentq(above, -edge, found, args=(z,))
    if n and found < edge and above(edge, -z) < 0:
        high = brentq(above, found, edge, args=(-z,))
    return Interval(float(low), float(high))


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact p that neither of two paired proportions is the larger; 1 when they never differ."""
    from scipy.stats import binomtest

    differ = first_only + second_only
    return float(binomtest(first_only, differ, 0.5).pvalue) if differ else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: Holm 1979, Scand J Stat 6:65."""
    adjusted, largest = [1.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def unseen_share(n: int, alpha: float = 0.05) -> float:
    """The largest share of a population that n draws may well have missed altogether.

    The one-sided limit at alpha/2, about 3.7 / n: Hanley and Lippman-Hand, JAMA 249 (1983), 1743.
    """
    return 1.0 - (alpha / 2) ** (1 / n) if n else 1.0


def groups_needed(distance: float, room: float, alpha: float = 0.05) -> int:
    """Draws of which `unseen_share` of `room` is less than `distance`; both above 0."""
    if distance >= room:
        return 1
    return math.floor(math.log(alpha / 2) / math.log1p(-distance / room)) + 1


def equals_needed(distance: float, alpha: float = 0.05) -> int:
    """Examples, right or wrong and all alike for both, whose interval (Tango's) falls short of
    `distance`, above 0."""
    return math.floor(_z(alpha / 2) ** 2 * (1 - distance) / distance) + 1


def smallest_difference(
    n: int, sd: float, alpha: float = 0.05, power: float = 0.8, *, right_or_wrong: bool = False
) -> float:
    """The true mean difference that n paired examples show with that power; at most 1.

    `sd` is of the per-example differences. One that varies less than a single example's turning
    would make it is taken to vary that much: n examples cannot tell of less. Where each is right or
    wrong, a difference of d varies by d (1 - d) or more, however alike the candidates are so far.
    """
    if n == 0:
        return 1.0
    reach = _reach(alpha, power)
    least = reach**2 / (n + reach**2) if right_or_wrong else 0.0
    return min(1.0, max(least, reach * _floored(sd, n) / math.sqrt(n)))


def examples_needed(
    difference: float, sd: float, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Paired examples that show a true difference, or distance to a margin; None if none can."""
    if difference == 0:
        return None
    return math.ceil((_reach(alpha, power) * sd / difference) ** 2)


def _reach(alpha: float, power: float) -> float:
    return _z(alpha / 2) + _z(1 - power)


def _floored(sd: float, n: int) -> float:
    return max(sd, 1 / math.sqrt(n))


def _z(tail: float) -> float:
    """The standard normal's upper quantile."""
    from scipy.special import ndtri

    return float(-ndtri(tail))


def _joined(one: float, two: float, phi: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * two + two**2))


def _score(difference: float, first_only: int, second_only: int, n: int) -> float:
    """Tango's statistic: how many standard errors the data lie above that true difference."""
    differ = first_only + second_only
    half = (differ + (first_only - second_only - 2 * n) * difference) / (4 * n)
    rest = second_only * difference * (1 - difference) / (2 * n)
    second = half + math.sqrt(max(0.0, half**2 + rest))  # most likely share of `second_only`
    variance = n * (2 * second + difference * (1 - difference))
    gap = first_only - second_only - n * difference
    if abs(gap) < 1e-9:
        return 0.0
    return gap / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, gap)


def _correlation(both: int, first_only: int, second_only: int, neither: int) -> float:
    """Phi; a positive one is corrected towards 0, as Newcombe's method 10 has it."""
    n = both + first_only + second_only + neither
    product = (both + first_only) * (second_only + neither)
    product *= (both + second_only) * (first_only + neither)
    if product == 0:
        return 0.0
    cross = both * neither - first_only * second_only
    corrected = float(cross) if cross < 0 else max(0.0, cross - n / 2)
    return corrected / math.sqrt(product)
