"""The luck of a candidate's seeds is one and the same in all of its comparisons."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from sartor.evaluation.decide import decide
from sartor.evaluation.joined import joined
from sartor.evaluation.level import Level, student, welch, with_any, with_best
from sartor.evaluation.ranking import ranked
from sartor.evaluation.records import Criteria, Report

SIX = {"full": True, "lora": True, "prefix": True, "p": True, "few-shot": False, "zero-shot": False}


def test_a_comparison_by_itself_has_students_t_of_each_cause() -> None:
    # With two degrees of freedom the quantile is a * sqrt(2 / (1 - a^2)), where a = 1 - alpha.
    by_hand = 0.95**2 * 2 / (1 - 0.95**2)
    assert Level(0.05).by_seeds([1.0], [2]) == pytest.approx(by_hand)
    assert by_hand**0.5 == pytest.approx(4.303, abs=5e-4)  # as printed in tables
    assert Level(0.05).by_examples(4.0, 239) == pytest.approx(4 * stats.t.ppf(0.975, 239) ** 2)


def test_two_sets_of_seeds_have_welchs_degrees_of_freedom() -> None:
    first, second = np.array([0.50, 0.62, 0.55]), np.array([0.41, 0.44, 0.40])
    theirs = stats.ttest_ind(first, second, equal_var=False)
    variances = [float(one.var(ddof=1) / len(one)) for one in (first, second)]
    assert welch(variances, [2, 2]) == pytest.approx(theirs.df)
    reach = Level(theirs.pvalue).by_seeds(variances, [2, 2]) ** 0.5
    assert reach == pytest.approx(first.mean() - second.mean())


def test_many_seeds_of_one_prove_nothing_of_the_other() -> None:
    few, many = Level(0.05).by_seeds([1.0, 1.0], [1, 1]), Level(0.05).by_seeds([1.0, 1.0], [1, 9])
    assert many == few > Level(0.05).by_seeds([1.0, 1.0], [9, 9])


def test_of_fifty_candidates_there_is_a_reach_at_every_level() -> None:
    reaches = [Level(0.05, 50, alpha).of_any(2) for alpha in (1e-6, 1e-4, 2e-4, 1e-3, 1e-2, 0.05)]
    assert reaches == sorted(reaches, reverse=True)


@pytest.mark.parametrize("freedom", [1, 2, 4, 20])
@pytest.mark.parametrize("trained", [2, 4, 6])
def test_of_many_none_passes_nor_lie_any_two_further_apart(freedom: int, trained: int) -> None:
    reach = Level(1e-9, trained, 0.05).of_any(freedom)
    drawn = np.random.default_rng(0).standard_t(freedom, size=(200_000, trained))
    passed = (np.abs(drawn).max(axis=1) > reach) | (np.ptp(drawn, axis=1) > reach * np.sqrt(2))
    assert passed.mean() == pytest.approx(0.05, abs=0.002)


def test_it_is_never_beyond_what_each_comparison_needs_alone() -> None:
    of_two, alone = Level(0.05 / 2, 6, 0.05), Level(0.05 / 2)
    assert of_two.by_seeds([1.0], [2]) == alone.by_seeds([1.0], [2])


def test_six_candidates_four_of_them_trained_are_corrected_for_four() -> None:
    level = with_any(SIX).level(0.05, 5)
    assert level.alpha == pytest.approx(0.05 / 15)
    assert level.of_seeds == pytest.approx(0.05 * 14 / 15)  # one pair has no seeds at all
    assert 8.86 < level.by_seeds([1.0], [2]) ** 0.5 < 9.3 < 17.2 < student(2, 0.05 / 15)
    assert with_best(SIX, "full").level(0.05, 5) == Level(0.01, 4, 0.05)
    assert with_best(SIX, "few-shot").level(0.05, 5) == Level(0.01, 4, 0.05 * 0.8)


def test_without_seeds_it_is_bonferroni() -> None:
    level = with_any(dict.fromkeys("abcdef", False)).level(0.05, 5)
    assert level.alpha == pytest.approx(0.05 / 15)
    assert level.trained == 0


def test_three_seeds_that_lie_far_above_an_untrained_one_show_it_to_be_worse(
    planted: Callable[..., Report],
) -> None:
    """As on E2E: .25 on average over seeds .04 apart, beside .003."""
    random = np.random.default_rng(11)
    hard = random.uniform(-0.05, 0.05, size=240)

    def trained(name: str, mean: float, apart: float) -> Report:
        seeds = [planted(f"{name}{s}", mean + hard + by * apart) for s, by in enumerate((-1, 0, 1))]
        return joined(name, seeds, 0)

    reports = [
        trained("full", 0.25, 0.04),
        trained("lora", 0.245, 0.015),
        trained("prefix", 0.127, 0.03),
        trained("p", 0.119, 0.03),
        *(planted(name, random.uniform(0, 0.006, size=240)) for name in ("few-shot", "zero-shot")),
    ]
    decision = decide(reports, Criteria("planted", 0.02), seed=0)
    said = {row.candidate: row.verdict for row in decision.comparisons}
    assert said["few-shot"] == said["zero-shot"] == "worse"
    assert said["lora"] == said["p"] == "cannot tell"  # a fourth seed of full may be anywhere near


def test_p_is_below_a_level_where_its_interval_leaves_0_out() -> None:
    random = np.random.default_rng(12)
    hard = random.uniform(0.3, 0.6, size=100)
    seeds = {
        name: tuple(tuple(mean + hard + random.normal(0, 0.03)) for _ in range(3))
        for name, mean in {"a": 0.3, "b": 0.2, "c": 0.0, "d": -0.2}.items()
    }
    values = {name: list(np.mean(rows, axis=0)) for name, rows in seeds.items()}
    found = ranked(values, list(range(100)), 0.01, 0, seeds).distances
    assert {one.p < 0.05 for one in found.values()} == {True, False}
    assert all((one.p < 0.05) == (one.interval.high < 0) for one in found.values())
