"""One candidate against another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from scipy import stats

from sartor.errors import DataError
from sartor.evaluation.compare import compare
from sartor.evaluation.paired import Paired
from sartor.evaluation.records import Report

Planted = Callable[..., Report]


@pytest.mark.parametrize(
    ("shift", "n", "verdict"),
    [
        (0.2, 200, "better"),
        (0.0, 400, "non-inferior"),
        (-0.2, 200, "worse"),
        (-0.04, 15, "cannot tell"),
    ],
)
def test_the_verdict_is_what_was_planted(
    planted: Planted, shift: float, n: int, verdict: str
) -> None:
    random = np.random.default_rng(0)
    values = random.uniform(0.3, 0.7, size=n)
    moved = np.clip(values + shift + random.normal(0, 0.1, size=n), 0, 1)
    found = compare(planted("new", moved), planted("old", values), "planted", 0.05, seed=0)
    assert found.verdict == verdict
    assert found.difference == pytest.approx((moved - values).mean())
    assert found.low < found.difference < found.high
    assert (found.label_more is not None) == (verdict == "cannot tell")
    assert (found.candidate, found.against, found.n) == ("new", "old", n)


def test_right_and_wrong_are_compared_by_mcnemars_exact_test(planted: Planted) -> None:
    first = [1.0] * 12 + [0.0] * 3 + [1.0] * 5
    second = [0.0] * 12 + [1.0] * 3 + [1.0] * 5
    found = compare(planted("a", first), planted("b", second), "planted", 0.05, seed=0)
    assert found.p == pytest.approx(stats.binomtest(12, 15).pvalue)


def test_neither_the_interval_nor_the_test_is_believed_without_the_other(planted: Planted) -> None:
    """Of 20 examples with 4 against 0 the interval just excludes 0, and exact McNemar has 0.125."""
    first, second = [1.0] * 12 + [0.0] * 8, [1.0] * 8 + [0.0] * 12
    a, b = planted("a", first), planted("b", second)
    one, other = compare(a, b, "planted", 0.05, 0), compare(b, a, "planted", 0.05, 0)
    assert one.low > 0
    assert one.p == pytest.approx(0.125)
    assert (one.verdict, other.verdict) == ("non-inferior", "cannot tell")
    assert other.label_more


@pytest.mark.parametrize("n", [62, 100, 300])
def test_candidates_that_answered_all_alike_need_more_examples_than_one(n: int) -> None:
    alike = (1.0,) * (n // 2) + (0.0,) * (n - n // 2)
    margin = 0.9 * Paired(alike, alike).interval().high
    more = Paired(alike, alike).label_more(margin)
    assert more
    assert more > 0.05 * n
    longer = (1.0,) * ((n + more) // 2) + (0.0,) * (n + more - (n + more) // 2)
    assert Paired(longer, longer).interval().low > 1.1 * -margin


def test_turned_round_it_says_the_opposite(planted: Planted) -> None:
    a, b = planted("a", [0.9, 0.8, 0.7] * 30), planted("b", [0.2, 0.5, 0.1] * 30)
    one, other = compare(a, b, "planted", 0.05, 0), compare(b, a, "planted", 0.05, 0)
    assert (one.verdict, other.verdict) == ("better", "worse")
    assert one.difference == pytest.approx(-other.difference)


def test_candidates_without_a_common_example_are_refused(planted: Planted) -> None:
    with pytest.raises(DataError, match="share no example with a planted score"):
        compare(planted("a", [0.5, None]), planted("b", [None, 0.5]), "planted", 0.05, 0)
    with pytest.raises(DataError, match=r"with a bleu score\. .*both have scores of: planted\."):
        compare(planted("a", [0.5]), planted("b", [0.5]), "bleu", 0.05, 0)


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.1])
def test_as_many_more_groups_as_it_says_do_settle_it(gap: float) -> None:
    """Eight examples a group, all of a group alike: it is groups that are counted."""
    random = Random(4)
    few = [random.random() * 0.5 + 0.25 for _ in range(12)]

    def paired(times: int) -> Paired:
        groups = [g for g in range(12 * times) for _ in range(8)]
        second = [few[g % 12] for g in groups]
        first = [v - gap + (0.1 if g % 2 else -0.1) for v, g in zip(second, groups, strict=True)]
        return Paired(tuple(first), tuple(second), tuple(groups))

    def settled(one: Paired) -> bool:
        interval = one.interval()
        return interval.low > -0.03 or interval.high < 0

    start = paired(1)
    assert not settled(start)
    more = start.label_more(0.03)
    assert more
    times = -(-(start.n + more) // start.n)
    assert settled(paired(times))
    if times > 3:
        assert not settled(paired(times // 3))


def test_a_best_that_is_hardly_ever_right_is_not_met_by_one_that_never_is() -> None:
    """Twenty examples show little, however low the scores."""
    never = Paired((0.0,) * 20, (*(0.1,) * 4, *(0.0,) * 16))
    assert never.interval().low < -0.1
    assert Paired((0.25,) * 20, (0.25,) * 20).interval().low < -0.1


def test_a_program_is_told_how_far_the_scores_can_be_trusted(planted: Planted) -> None:
    doubted = replace(planted("a", [0.5] * 30), notes={"planted": "unvalidated", "own": "x"})
    told = compare(doubted, planted("b", [0.5] * 30), "planted", 0.01, 0).told()
    assert told["notes"] == [{"candidates": "a", "note": "unvalidated"}]
    assert (told["a"], told["b"], told["scorer"], told["margin"]) == ("a", "b", "planted", 0.01)
    assert (told["verdict"], told["label_more"]) == ("cannot tell", told["label_more"])
    assert told["label_more"] > 0
    json.dumps(told)
