"""How often 95 % intervals hold the truth, and how often anything false is claimed.

    python benchmarks/calibration.py --worlds 600 > calibration.json

Simulated worlds with a known truth: null and not, right-or-wrong and graded, tied, skewed, rare,
in groups, trained with several seeds; 30 to 3,000 examples. Prints one JSON object: `coverage`, by
world and then by number of examples; `seeds`, the same of two candidates whose seeds differ by
little, much, or unlike amounts; `family`, the share of null worlds of six candidates in which
any was called better or worse, or, one margin behind, good enough. Nothing here is of a model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from time import process_time

import numpy as np
from numpy.typing import NDArray

from sartor.evaluation.level import LEVEL
from sartor.evaluation.paired import Paired
from sartor.evaluation.ranking import ranked
from sartor.evaluation.seeds import Seeded

RESAMPLES = 1_000
"""A tenth of the usual: it is the method that is measured, and many worlds."""
SIZES = (30, 100, 300, 1000, 3000)
Numbers = NDArray[np.float64]
World = tuple[Paired | Seeded, float]


def token_f1(random: np.random.Generator, n: int) -> Numbers:
    """Many zeros and ones, some between."""
    kind, between = random.uniform(size=n), random.uniform(size=n)
    return np.where(kind < 0.4, 0.0, np.where(kind < 0.7, 1.0, between))


def table(random: np.random.Generator, n: int, only_first: float, only_second: float) -> World:
    cells = random.choice(
        4, size=n, p=[0.5, only_first, only_second, 0.5 - only_first - only_second]
    )
    first = np.isin(cells, (0, 1)).astype(np.float64)
    second = np.isin(cells, (0, 2)).astype(np.float64)
    return alone(first, second), only_first - only_second


def alone(first: Numbers, second: Numbers) -> Paired:
    return Paired(tuple(first), tuple(second), resamples=RESAMPLES)


def graded_null(random: np.random.Generator, n: int) -> World:
    """Half of the answers are as if by chance another one's."""
    second = token_f1(random, n)
    turned = np.where(random.uniform(size=n) < 0.5, token_f1(random, n), second)
    return alone(turned, second), 0.0


def graded_tied(random: np.random.Generator, n: int) -> World:
    """A tenth of the answers differ."""
    second = token_f1(random, n)
    turned = np.where(random.uniform(size=n) < 0.1, token_f1(random, n), second)
    return alone(turned, second), 0.0


def graded_shift(random: np.random.Generator, n: int) -> World:
    second = random.uniform(0.3, 0.7, size=n)
    return alone(second + 0.05 + random.normal(0, 0.1, size=n), second), 0.05


def graded_skewed(random: np.random.Generator, n: int) -> World:
    return alone(random.beta(0.4, 2.0, size=n), np.zeros(n)), 1 / 6


def graded_rare(random: np.random.Generator, n: int) -> World:
    """One answer of twenty is lost altogether, and all others are the same."""
    second = np.full(n, 0.8)
    return alone(np.where(random.uniform(size=n) < 0.05, 0.0, second), second), -0.04


def in_groups(random: np.random.Generator, n: int) -> World:
    """Five examples a document, which share what the candidates differ by."""
    groups = np.repeat(np.arange(n // 5), 5)
    shared = np.repeat(random.normal(0, 0.15, size=n // 5), 5)
    second = random.uniform(0.3, 0.7, size=n)
    first = second + shared + random.normal(0, 0.1, size=n)
    return Paired(tuple(first), tuple(second), tuple(groups), resamples=RESAMPLES), 0.0


def over_seeds(random: np.random.Generator, n: int) -> World:
    """Three seeds that differ by 0.03, against a candidate without."""
    hard = random.uniform(-0.2, 0.2, size=n)
    seeds = random.normal(0, 0.03, size=(3, 1)) + random.normal(0, 0.1, size=(3, n))
    first, second = 0.5 + hard + seeds, (0.45 + hard + random.normal(0, 0.1, size=n))[None]
    return Seeded(first, second, bounds=(-1, 1)), 0.05


WORLDS: dict[str, Callable[[np.random.Generator, int], World]] = {
    "right or wrong, null": lambda random, n: table(random, n, 0.1, 0.1),
    "right or wrong, not": lambda random, n: table(random, n, 0.15, 0.05),
    "right or wrong, rare": lambda random, n: table(random, n, 0.02, 0.02),
    "graded, null": graded_null,
    "graded, tied": graded_tied,
    "graded, not null": graded_shift,
    "graded, skewed": graded_skewed,
    "graded, rare": graded_rare,
    "in groups of five": in_groups,
    "three seeds": over_seeds,
}


def coverage(name: str, n: int, worlds: int, seed: int = 0) -> float:
    """The share of worlds whose interval holds the truth."""
    random, held = np.random.default_rng(seed), 0
    for _ in range(worlds):
        made, truth = WORLDS[name](random, n)
        found = made.interval()
        held += found.low <= truth <= found.high
    return held / worlds


SPREADS: dict[str, tuple[float, float | None]] = {
    "little": (0.003, 0.003),
    "some": (0.02, 0.02),
    "much": (0.1, 0.1),
    "unlike": (0.1, 0.02),
    "one of them trained once": (0.1, None),
}
"""Standard deviations between seeds, of either candidate; one example's is 0.1 in each.
None: it was trained once."""


def over_seeds_of(spread: str, seeds: int, n: int, worlds: int) -> float:
    """The share of worlds in which the difference of two candidates trained with so many seeds is
    no further from the truth than Student's t reaches; the interval's ends are never nearer."""
    random, held = np.random.default_rng(2), 0
    for _ in range(worlds):
        hard = random.uniform(0.3, 0.7, size=n)
        first, second = (
            hard + random.normal(0, apart or 0.0, size=(rows, 1)) + random.normal(0, 0.1, (rows, n))
            for apart in SPREADS[spread]
            for rows in (seeds if apart else 1,)
        )
        made = Seeded(first, second, bounds=(-1, 1))
        held += abs(made.mean) <= made.reach(LEVEL)
    return held / worlds


def family(n: int, worlds: int, graded: bool, behind: bool, candidates: int = 6) -> float:
    """The share of worlds in which anything false is claimed of candidates that are truly equal,
    or truly one margin behind the first."""
    random, false, margin = np.random.default_rng(1), 0, 0.1
    for _ in range(worlds):
        hard = random.uniform(size=n)
        values = {}
        for at in range(candidates):
            slips = random.uniform(size=n) < 0.1
            right = (hard < 0.8) ^ slips
            if behind:
                lost = random.uniform(size=n) < margin / 0.8
                right = (hard < 0.8) & ~(lost if at else np.zeros(n, dtype=bool))
            score = right * 1.0
            values[f"c{at}"] = list(
                score * 0.9 + 0.05 * random.uniform(size=n) if graded else score
            )
        found = ranked(values, list(range(n)), margin, 0)
        if behind:
            false += any(one.interval.low > -margin for one in found.distances.values())
        else:
            false += any(one.interval.high < 0 or one.p < 0.05 for one in found.distances.values())
    return false / worlds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    asked = parser.parse_args()
    sizes, began = [n for n in SIZES if n <= asked.largest], process_time()
    held: dict[str, dict[int, float]] = {}
    for name in WORLDS:
        held[name] = {n: coverage(name, n, asked.worlds) for n in sizes}
        print(name, held[name], file=sys.stderr, flush=True)
    by_seeds: dict[str, dict[int, dict[int, float]]] = {}
    for spread in SPREADS:
        by_seeds[spread] = {
            seeds: {n: over_seeds_of(spread, seeds, n, asked.worlds) for n in sizes}
            for seeds in (2, 3, 5)
        }
        print("seeds", spread, by_seeds[spread], file=sys.stderr, flush=True)
    claims = {}
    for graded in (False, True):
        for behind in (False, True):
            what = f"{'graded' if graded else 'right or wrong'}, {'behind' if behind else 'equal'}"
            worlds = max(100, asked.worlds // 2)
            few = [n for n in sizes if n <= 300]
            claims[what] = {n: family(n, worlds, graded, behind) for n in few}
            print(what, claims[what], file=sys.stderr, flush=True)
    found = {"worlds": asked.worlds, "coverage": held, "seeds": by_seeds, "family": claims}
    print(json.dumps(found | {"cpu_seconds": round(process_time() - began, 1)}, indent=2))


if __name__ == "__main__":
    main()
