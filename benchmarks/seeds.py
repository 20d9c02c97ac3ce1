"""Candidates, some trained with several seeds: how often ways of judging them are wrong.

    python benchmarks/seeds.py --worlds 20000 > seeds.json

Simulated means of candidates that are truly equal, whose seeds differ by known amounts, judged in
all 15 pairs: `family` is the share of worlds in which any interval misses the truth (5 % at most is
wanted), `one` the share in which the 95 % interval of the first two by themselves holds it. Normal
throughout, with 200 degrees of freedom for the examples. The ways: Student's t of each cause, all
levels divided by the number of pairs (`before`, as sartor did); one Student's t of their sum with
Satterthwaite's degrees of freedom (1946, Biometrics Bulletin 2:110); one variance for all seeds
(`pooled`); each drawn towards that by empirical Bayes (`moderated`: Smyth 2004, Stat Appl Genet Mol
Biol 3:3); and what sartor does, by its own levels. `reach` is how far the interval of the first two
reaches in the family, in its true standard errors. JSON to stdout.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from itertools import combinations
from time import process_time

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma, stdtrit

from sartor.evaluation.level import Family, Level, student, welch, with_any

Numbers = NDArray[np.float64]
Way = Callable[[float, Numbers, int, Level], Numbers]
EXAMPLES = 200
"""Degrees of freedom of what examples make of chance."""
APART: dict[str, tuple[float, ...]] = {
    "two": (1, 1),
    "two, one 5 times": (5, 1),
    "alike": (1, 1, 1, 1, 1, 1),
    "four trained": (1, 1, 1, 1, 0, 0),
    "one trained": (1, 0, 0, 0, 0, 0),
    "one 3 times": (3, 1, 1, 1, 0, 0),
    "one 10 times": (10, 1, 1, 1, 1, 1),
    "each 3 times the next": (81, 27, 9, 3, 1, 0.3),
}
"""Standard deviations between a candidate's seeds."""
SEEDS = (2, 3, 5)
BY_EXAMPLES = {"little": 0.01, "some": 0.3, "as much": 1.0, "most": 5.0}
"""Variance of a pair's difference by examples, where the seeds' standard deviation is 1."""


def added(examples: float, seeds: Numbers, freedom: int, level: Level) -> Numbers:
    """Every candidate's seeds at their own degrees of freedom."""
    by_seeds = student(freedom, level.alpha) ** 2 * seeds.sum(axis=1)
    return np.asarray(np.sqrt(level.by_examples(examples, EXAMPLES) + by_seeds))


def ours(examples: float, seeds: Numbers, freedom: int, level: Level) -> Numbers:
    """`Level.by_seeds`, of many worlds."""
    variances = [one for one in seeds.T if one.any()]
    if not variances:
        return np.full(len(seeds), np.sqrt(level.by_examples(examples, EXAMPLES)))
    effective = welch(variances, [freedom] * len(variances))
    by_seeds = stdtrit(effective, level.alpha / 2) ** 2 * seeds.sum(axis=1)
    if level.trained:
        by_seeds = np.minimum(by_seeds, level.of_any(freedom) ** 2 * seeds.sum(axis=1))
    return np.asarray(np.sqrt(level.by_examples(examples, EXAMPLES) + by_seeds))


def satterthwaite(examples: float, seeds: Numbers, freedom: int, level: Level) -> Numbers:
    total = examples + seeds.sum(axis=1)
    effective = total**2 / (examples**2 / EXAMPLES + (seeds**2).sum(axis=1) / freedom)
    return np.asarray(-stdtrit(effective, level.alpha / 2) * np.sqrt(total))


def pooled(variances: Numbers, freedom: int) -> tuple[Numbers, Numbers]:
    """(worlds, candidates), and the degrees of freedom (worlds,)."""
    trained = variances > 0
    mean = variances.sum(axis=1, keepdims=True) / trained.sum(axis=1, keepdims=True)
    return np.where(trained, mean, 0.0), freedom * trained.sum(axis=1)


def moderated(variances: Numbers, freedom: int) -> tuple[Numbers, Numbers]:
    """Drawn towards each other, the more the less they differ: Smyth 2004, section 6.2."""
    trained = variances[0] > 0
    logs = np.log(variances[:, trained])
    centred = logs - digamma(freedom / 2) + np.log(freedom / 2)
    mean = centred.mean(axis=1)
    left = centred.var(axis=1, ddof=1) - polygamma(1, freedom / 2)
    halves = np.exp(np.linspace(-4, 12, 600))
    prior = 2 * np.interp(-np.maximum(left, 1e-12), -polygamma(1, halves), halves)  # (worlds,)
    middle = np.exp(mean + digamma(prior / 2) - np.log(prior / 2))
    drawn = ((prior * middle)[:, None] + freedom * variances) / (prior + freedom)[:, None]
    return np.where(trained, drawn, 0.0), np.minimum(prior + freedom, freedom * trained.sum())


def _of_pair(
    way: Way, examples: float, variances: Numbers, freedom: int, level: Level, pair: tuple[int, int]
) -> Numbers:
    return way(examples, variances[:, pair], freedom, level)


def judged(
    apart: tuple[float, ...], seeds: int, examples: float, worlds: int
) -> dict[str, dict[str, float]]:
    """By way: how often any of the family is wrong, and how often one interval holds the truth."""
    random, freedom, k = np.random.default_rng(0), seeds - 1, len(apart)
    spread = np.array(apart) / np.sqrt(seeds)
    means = random.normal(size=(worlds, k)) * spread
    means += random.normal(size=(worlds, k)) * np.sqrt(examples / 2)
    variances = spread**2 * random.chisquare(freedom, size=(worlds, k)) / freedom
    family = with_any({str(at): one > 0 for at, one in enumerate(apart)})
    by_pairs = Family(family.pairs)
    ways: dict[str, tuple[Way, Family]] = {
        "before": (added, by_pairs),
        "satterthwaite": (satterthwaite, by_pairs),
        "sartor": (ours, family),
    }

    def missed(reach: Callable[[Level, tuple[int, int]], Numbers], of: Family) -> dict[str, float]:
        wrong = np.zeros(worlds, dtype=bool)
        for pair in combinations(range(k), 2):
            wrong |= abs(means[:, pair[0]] - means[:, pair[1]]) > reach(of.level(0.05, k - 1), pair)
        alone = abs(means[:, 0] - means[:, 1]) <= reach(Level(), (0, 1))
        error = np.sqrt(examples + spread[0] ** 2 + spread[1] ** 2)
        wide = np.median(reach(of.level(0.05, k - 1), (0, 1))) / error
        return {
            "family": round(float(wrong.mean()), 4),
            "one": round(float(alone.mean()), 4),
            "reach": round(float(wide), 1),
        }

    found = {
        name: missed(partial(_of_pair, way, examples, variances, freedom), of)
        for name, (way, of) in ways.items()
    }
    for name, borrow in {"pooled": pooled, "moderated": moderated}.items():
        if sum(one > 0 for one in apart) > 1:
            shared, more = borrow(variances, freedom)

            def reach(at: Level, two: tuple[int, int], v: Numbers = shared, f: Numbers = more
                      ) -> Numbers:  # fmt: skip
                by_seeds = stdtrit(f, at.alpha / 2) ** 2 * v[:, two].sum(axis=1)
                return np.asarray(np.sqrt(at.by_examples(examples, EXAMPLES) + by_seeds))

            found[name] = missed(reach, by_pairs)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--worlds", type=int, default=20_000)
    asked, began = parser.parse_args(), process_time()
    found = {
        f"{seeds} seeds": {
            name: {
                share: judged(apart, seeds, examples, asked.worlds)
                for share, examples in BY_EXAMPLES.items()
            }
            for name, apart in APART.items()
        }
        for seeds in SEEDS
    }
    seconds = round(process_time() - began, 1)
    print(json.dumps({"worlds": asked.worlds, **found, "cpu_seconds": seconds}, indent=2))


if __name__ == "__main__":
    main()
