"""Intervals, tests and sample sizes against statsmodels, scipy and published figures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from sartor.evaluation.bootstrap import (
    MANY,
    Bootstrap,
    mean_interval,
    sign_flip_p,
    standard_error,
)
from sartor.evaluation.statistics import (
    examples_needed,
    holm,
    mcnemar,
    newcombe,
    smallest_difference,
    tango,
    unseen_share,
    wilson,
)

pytestmark = pytest.mark.reference


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 10), (7, 10), (81, 263), (15, 148), (5, 5)])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_wilson_agrees_with_statsmodels(right: int, n: int, alpha: float) -> None:
    from statsmodels.stats.proportion import proportion_confint

    found = wilson(right, n, alpha)
    expected = proportion_confint(right, n, alpha, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


def test_wilson_gives_the_figures_published_by_newcombe() -> None:
    # Newcombe 1998, Stat Med 17:857, table I, method 3
    found = wilson(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        # Fagerland, Lydersen, Laake 2017, "Statistical analysis of contingency tables", chapter 8,
        # complete response before and after consolidation (Cavo et al. 2012); the same figures are
        # in the tests of the authors' R package, contingencytables
        ((59, 6, 16, 80), -0.1186, -0.0046),
        # Newcombe 1998, Stat Med 17:2635, has nothing to correct for when phi is not positive:
        # then method 10 is the square-and-add of two Wilson intervals, worked by hand here
        ((0, 5, 5, 0), None, None),
    ],
)
def test_newcombe_gives_published_figures(
    cells: tuple[int, int, int, int], low: float | None, high: float | None
) -> None:
    found = newcombe(*cells)
    if low is None:
        half = wilson(5, 10).high - 0.5
        low, high = -2 * half, 2 * half  # phi is -1: sqrt(d1^2 + 2 d1 d2 + d2^2)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_newcombe_turns_round_with_its_arguments() -> None:
    one, other = newcombe(40, 9, 3, 8), newcombe(40, 3, 9, 8)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


@pytest.mark.parametrize(
    "cells", [(43, 0, 1, 0), (1, 1, 7, 12), (59, 6, 16, 80), (140, 25, 0, 85), (9, 9, 9, 9)]
)
def test_tango_inverts_the_score_test(cells: tuple[int, int, int, int]) -> None:
    """At each limit the statistic is 1.96, its nuisance share found by scipy's optimizer."""
    n, first, second = sum(cells), cells[1], cells[2]

    def statistic(difference: float) -> float:
        def minus_log_likelihood(share: float) -> float:  # of `second only`
            same = 1 - 2 * share - difference
            counts, shares = [first, second, n - first - second], [share + difference, share, same]
            return -float(stats.multinomial.logpmf(counts, n, np.clip(shares, 1e-300, 1)))

        low, high = max(0.0, -difference), (1 - difference) / 2
        fit = optimize.minimize_scalar(
            minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-10}
        )
        variance = n * (2 * fit.x + difference - difference**2)
        return (first - second - n * difference) / float(np.sqrt(variance))

    found = tango(*cells, 0.05)
    assert statistic(found.low) == pytest.approx(1.959964, abs=1e-3)
    assert statistic(found.high) == pytest.approx(-1.959964, abs=1e-3)


def test_tango_of_pairs_that_never_differ_is_the_closed_form() -> None:
    for n in (1, 5, 200):
        z2 = 1.959964**2
        found = tango(n, 0, 0, 0, 0.05)
        assert (found.low, found.high) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), abs=1e-6)
    assert (tango(0, 0, 0, 0, 0.05).low, tango(0, 0, 0, 0, 0.05).high) == (-1, 1)
    assert tango(0, 0, 3, 0, 0.05).low == -1


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (6, 16), (10, 10), (30, 4)])
def test_mcnemar_agrees_with_statsmodels(first: int, second: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar as theirs

    expected = theirs([[9, first], [second, 9]], exact=True).pvalue
    assert mcnemar(first, second) == pytest.approx(min(1.0, expected))


def test_holm_agrees_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    for seed in range(20):
        p = np.random.default_rng(seed).uniform(size=seed + 1) ** 3
        assert holm(list(p)) == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert holm([]) == []


def test_bca_agrees_with_scipy_where_examples_are_many() -> None:
    values = np.random.default_rng(1).beta(0.5, 1.5, size=600)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    found = mean_interval(values, resamples=20_000)
    width = theirs.high - theirs.low
    assert (found.low, found.high) == pytest.approx(tuple(theirs), abs=width / 25)


@pytest.mark.parametrize("groups", [False, True])
def test_beyond_two_thousand_the_expansion_is_what_resamples_come_to(groups: bool) -> None:
    random = np.random.default_rng(8)
    values = random.beta(0.3, 2.0, size=MANY + 1)
    rows = np.repeat(values, 3) if groups else values
    names = list(np.repeat(np.arange(len(values)), 3)) if groups else None
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    found = Bootstrap(rows, names).interval(0.05, (0.0, 1.0))
    assert (found.low, found.high) == pytest.approx(
        tuple(theirs), abs=(theirs.high - theirs.low) / 30
    )


def test_few_examples_get_the_width_of_students_t() -> None:
    values = np.array([0.2, 0.35, 0.5, 0.5, 0.65, 0.8])
    theirs = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
    found = mean_interval(values, bounds=(-9.0, 9.0), resamples=50_000)
    assert found.high - found.low >= 0.8 * (theirs[1] - theirs[0])
    wide = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    assert found.high - found.low > 1.2 * (wide.high - wide.low)


def test_whole_groups_make_one_observation_each() -> None:
    per_group = np.random.default_rng(3).uniform(size=80)
    found = mean_interval(np.repeat(per_group, 5), groups=list(np.repeat(np.arange(80), 5)))
    alone = mean_interval(per_group)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.004)


def test_the_standard_error_is_the_textbooks() -> None:
    values = np.random.default_rng(4).uniform(size=50)
    assert standard_error(values, None) == pytest.approx(stats.sem(values))


def test_the_standard_error_over_groups_agrees_with_statsmodels() -> None:
    import statsmodels.api as sm

    random = np.random.default_rng(5)
    groups = np.repeat(np.arange(100), 4)
    values = random.uniform(size=400) / 2 + np.repeat(random.uniform(size=100), 4) / 2
    fit = sm.OLS(values, np.ones(400)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert standard_error(values, list(groups)) == pytest.approx(fit.bse[0], rel=0.01)


def test_the_exact_sign_flip_test_agrees_with_scipy() -> None:
    differences = np.array([0.3, -0.1, 0.25, 0.0, 0.4, 0.05, -0.02, 0.2, 0.1])
    theirs = stats.permutation_test(
        (differences, np.zeros(9)), _sum_of_gaps, permutation_type="samples", n_resamples=10_000
    )
    assert sign_flip_p(differences) == pytest.approx(theirs.pvalue)


def test_the_drawn_sign_flip_test_comes_close_to_wilcoxons_kin() -> None:
    differences = np.random.default_rng(6).normal(0.1, 0.4, size=150)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert sign_flip_p(differences) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(("n", "sd"), [(50, 0.3), (200, 0.45), (1000, 0.2)])
def test_the_smallest_difference_agrees_with_statsmodels(n: int, sd: float) -> None:
    from statsmodels.stats.power import normal_power

    found = smallest_difference(n, sd)
    assert normal_power(found / sd, n, 0.05) == pytest.approx(0.8, abs=1e-4)
    assert examples_needed(found * (1 + 1e-9), sd) == n


def test_the_unseen_share_is_the_exact_binomial_limit() -> None:
    for n in (1, 5, 60, 1000):
        exact = stats.binomtest(0, n).proportion_ci(0.95, method="exact").high
        assert unseen_share(n) == pytest.approx(exact)


def test_nothing_seen_is_nothing_known() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)
    assert (newcombe(0, 0, 0, 0).low, newcombe(0, 0, 0, 0).high) == (-1, 1)
    assert smallest_difference(0, 0.3) == 1
    assert examples_needed(0, 0.3) is None


def test_one_example_and_equal_examples_get_an_interval_and_no_warning() -> None:
    one, many = mean_interval([0.5]), mean_interval([0.5] * 100)
    assert one.low < 0.02
    assert one.high > 0.98
    assert 0.45 < many.low < 0.5 < many.high < 0.55
    assert sign_flip_p([0.0, 0.0]) == 1
    assert sign_flip_p([0.4]) == 1
    one_group = mean_interval([0.1, 0.9], groups=["a", "a"])
    assert one_group.high - one_group.low > 0.9


def _sum_of_gaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float((first - second).sum())
