"""Means, their intervals, and slices."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sartor.data.records import Example, Message
from sartor.errors import DataError
from sartor.evaluation.bootstrap import mean_interval, sign_flip_p
from sartor.evaluation.estimate import estimate, group_of, slice_estimates
from sartor.evaluation.slicing import slices


def examples(count: int, **rest: object) -> list[Example]:
    asked = (Message("user", "?"),)
    return [Example(f"e{i}", asked, ("yes",), **rest) for i in range(count)]  # type: ignore[arg-type]


def test_the_interval_of_right_or_wrong_stays_between_0_and_1() -> None:
    found = estimate([1.0] * 20, binary=True)
    assert (found.mean, found.high, found.n) == (1.0, 1.0, 20)
    assert 0.8 < found.low < 0.9  # Wilson's: 20 / (20 + 1.96^2)
    assert found.low == pytest.approx(20 / (20 + 1.959964**2))


def test_the_same_seed_gives_the_same_interval() -> None:
    values = list(np.random.default_rng(0).uniform(size=40))
    assert estimate(values, binary=False, seed=3) == estimate(values, binary=False, seed=3)
    assert estimate(values, binary=False, seed=3) != estimate(values, binary=False, seed=4)


def test_examples_of_one_group_count_for_less() -> None:
    values = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0] * 10
    groups = [str(i // 4) for i in range(80)]
    alone, grouped = estimate(values, True), estimate(values, True, groups)
    assert grouped.high - grouped.low > 1.7 * (alone.high - alone.low)


def test_an_example_without_a_group_stands_for_itself() -> None:
    first, second = examples(2)
    assert group_of(first) != group_of(second)
    [named] = examples(1, group="e1")
    assert group_of(named) != group_of(second)


def test_nothing_cannot_be_estimated() -> None:
    with pytest.raises(DataError, match="no scores"):
        estimate([], binary=True)


def test_slices_are_the_tags_and_what_can_be_answered() -> None:
    asked = [*examples(6, tags=("price",), evidence=("d",)), *examples(5, answerable=False)]
    asked += examples(4, tags=("rare",))
    found = {name: len(members) for name, members in slices(asked).items()}
    expected = {"price": 6, "answerable": 10, "unanswerable": 5, "has evidence": 6}
    assert found == {**expected, "document: d": 6}


def test_a_slice_that_holds_everything_is_not_repeated() -> None:
    assert slices(examples(9)) == {}


def test_a_slice_counts_only_examples_that_were_scored() -> None:
    asked = examples(10, tags=("price",))
    values = {"f1": {e.id: 0.5 for e in asked}, "grounded": {e.id: 1.0 for e in asked[:4]}}
    found = slice_estimates(asked, values, {"f1": False, "grounded": False})
    assert list(found["price"]) == ["f1"]
    assert found["price"]["f1"].n == 10


def test_a_hundred_thousand_scores_do_not_fill_the_memory() -> None:
    values = np.random.default_rng(0).uniform(size=100_000)
    tracemalloc.start()
    mean_interval(values, resamples=100)
    sign_flip_p(values - 0.5, resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120_000_000  # 100 resamples at once would be 160 MB, 10,000 of them 16 GB


def test_scores_of_few_kinds_are_resampled_by_counting_them() -> None:
    values = np.random.default_rng(0).integers(0, 5, size=100_000) / 4
    found = mean_interval(values)
    reach = 1.96 * values.std() / np.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.05)
