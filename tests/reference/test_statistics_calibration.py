"""A 95 % interval holds the truth in about 95 % of simulated worlds."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sartor.evaluation.bootstrap import mean_interval
from sartor.evaluation.paired import pair
from sartor.evaluation.statistics import Interval, wilson

ROOT = Path(__file__).resolve().parents[2]
benchmark = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "calibration.py")))

of_seeds = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "seeds.py")))

pytestmark = [pytest.mark.reference, pytest.mark.slow]

WORLDS = 1000
RARE = {("right or wrong, rare", 30), ("graded, tied", 30), ("graded, rare", 30)}
"""Worlds that show one to three differences: an interval that holds there is wider than 97 %."""


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("name", sorted(benchmark.WORLDS))
def test_of_the_worlds_of_the_benchmark(name: str, n: int) -> None:
    """250 worlds each; the table of docs/decision.md is of more, and up to 3,000 examples."""
    held = benchmark.coverage(name, n, 250, seed=9)
    # 93 to 97 %, give or take three standard errors of 250 worlds
    assert 0.90 <= held <= (1.0 if (name, n) in RARE or (n == 300 and "rare" in name) else 0.995)


@pytest.mark.parametrize("behind", [False, True])
def test_of_claims_about_six_candidates(behind: bool) -> None:
    """5 % of worlds at most; 15 of 150 would be seen once in a hundred such tests."""
    assert benchmark.family(100, 150, graded=False, behind=behind) <= 14 / 150


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("apart", sorted(of_seeds.APART))
@pytest.mark.parametrize("share", ["little", "as much"])
def test_of_candidates_trained_with_several_seeds(seeds: int, apart: str, share: str) -> None:
    """Together at most 5 % are false, 6 where there are but two; 1 % more is three standard errors
    of 5,000 worlds. One interval by itself holds the truth in 93 % or more."""
    examples = of_seeds.BY_EXAMPLES[share]
    found = of_seeds.judged(of_seeds.APART[apart], seeds, examples, 5_000)
    assert found["sartor"]["family"] <= (0.07 if apart.startswith("two") else 0.065)
    assert found["sartor"]["one"] >= 0.93 - 0.01


def test_one_variance_for_all_seeds_would_be_wrong_where_one_candidate_differs_more() -> None:
    found = of_seeds.judged(of_seeds.APART["one 3 times"], 3, 0.01, 5_000)
    assert found["pooled"]["one"] < 0.90
    assert found["moderated"]["one"] < 0.92


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", sorted(benchmark.SPREADS))
def test_of_two_candidates_trained_with_several_seeds(spread: str, seeds: int) -> None:
    # 93 to 97 %, give or take three standard errors of 500 worlds
    assert 0.90 <= benchmark.over_seeds_of(spread, seeds, 100, 500) <= 0.993


def coverage(truth: float, make: Callable[[np.random.Generator], Interval]) -> float:
    random = np.random.default_rng(20)
    made = [make(random) for _ in range(WORLDS)]
    return sum(found.low <= truth <= found.high for found in made) / WORLDS


def token_f1_like(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Many zeros and ones, some between; mean 0.3 * 1 + 0.3 * 0.5 = 0.45."""
    kind, between = random.uniform(size=n), random.uniform(size=n)
    return np.where(kind < 0.4, 0.0, np.where(kind < 0.7, 1.0, between))


@pytest.mark.parametrize("n", [12, 40, 150])
def test_of_a_graded_mean(n: int) -> None:
    found = coverage(0.45, lambda r: mean_interval(token_f1_like(r, n), resamples=1000))
    assert 0.92 <= found <= 0.98


def test_of_a_skewed_mean() -> None:
    found = coverage(1 / 6, lambda r: mean_interval(r.beta(0.4, 2.0, size=60), resamples=1000))
    assert 0.92 <= found <= 0.98


def test_of_a_mean_over_groups() -> None:
    groups = list(np.repeat(np.arange(40), 4))

    def make(random: np.random.Generator) -> Interval:
        shared = np.repeat(random.uniform(size=40), 4)
        values = (shared + random.uniform(size=160)) / 2
        return mean_interval(values, groups=groups, resamples=1000)

    assert 0.92 <= coverage(0.5, make) <= 0.98


@pytest.mark.parametrize("n", [25, 120])
def test_of_a_share_on_average_over_true_shares(n: int) -> None:
    # exactly, and on average: counts are whole, so at single shares no interval can be exact
    truths, counts = np.linspace(0.05, 0.95, 181), np.arange(n + 1)
    low, high = np.array([(f.low, f.high) for f in (wilson(int(k), n) for k in counts)]).T
    held = (low <= truths[:, None]) & (truths[:, None] <= high)  # (truths, counts)
    found = (held * stats.binom.pmf(counts, n, truths[:, None])).sum(axis=1).mean()
    assert 0.94 <= found <= 0.96


@pytest.mark.parametrize("n", [30, 150])
def test_of_a_paired_difference_of_right_and_wrong(n: int) -> None:
    def make(random: np.random.Generator) -> Interval:
        easy = random.uniform(size=n)  # how hard the example is, for both candidates
        first, second = easy < 0.7, (easy < 0.6) ^ (random.uniform(size=n) < 0.1)
        return pair(list(first * 1.0), list(second * 1.0), list(range(n)), 0).interval()

    assert 0.92 <= coverage(0.7 - (0.6 * 0.9 + 0.4 * 0.1), make) <= 0.98


def test_of_a_paired_graded_difference() -> None:
    def make(random: np.random.Generator) -> Interval:
        second = token_f1_like(random, 80)
        turned = np.where(random.uniform(size=80) < 0.3, token_f1_like(random, 80), second)
        return pair(list(turned), list(second), list(range(80)), 0).interval()

    assert 0.92 <= coverage(0.0, make) <= 0.98
