"""What counts as a training gone wrong, and what is ordinary noise."""

from __future__ import annotations

import math
import random
from statistics import median

import pytest

from sartor.training.divergence import Limits

VOCABULARY = 8192


def watched(losses: list[float], batch_size: int = 8) -> tuple[int, str]:
    """(steps until something was wrong, what it was)."""
    limits, kept, usual = Limits(VOCABULARY, batch_size), list[float](), 0.0
    for step, loss in enumerate(losses):
        if why := limits.wrong([*kept, loss], usual):
            return step, why
        kept, usual = limits.after([*kept, loss], usual)
    return len(losses), ""


def noisy(seed: int, batch_size: int, steps: int = 400) -> list[float]:
    """Falling from 3 to 0.3; an example's loss is spread by a factor of e, one in ten is hard, and
    eight that begin alike follow one another. None is much worse than guessing."""
    chance = random.Random(seed)
    losses, hard = list[float](), 0
    for step in range(steps):
        level = 0.3 + 2.7 * math.exp(-step / 50)
        drawn = []
        for _ in range(batch_size):
            if hard == 0 and chance.random() < 0.1 / 8:
                hard = 8
            hard = max(0, hard - 1)
            loss = level * math.exp(chance.gauss(0, 1)) * (5 if hard else 1)
            drawn.append(min(loss, math.log(VOCABULARY) + 2))
        losses.append(sum(drawn) / batch_size)
    return losses


@pytest.mark.parametrize("batch_size", [1, 2, 8, 64])
def test_ordinary_noise_raises_no_alarm(batch_size: int) -> None:
    ended = [watched(noisy(seed, batch_size), batch_size) for seed in range(60)]
    assert [why for _, why in ended if why] == []


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_wrong_at_once(loss: float) -> None:
    assert watched([1.0, loss]) == (1, f"the loss became {loss}")
    assert watched([loss]) == (0, f"the loss became {loss}")


def test_a_leap_beyond_guessing_is_wrong_at_once() -> None:
    at_most = 10 * 2.0 + math.log(VOCABULARY)
    assert watched([2.0] * 5 + [at_most - 0.1])[1] == ""
    step, why = watched([2.0] * 5 + [at_most + 0.1])
    assert (step, why) == (5, f"the loss rose to {at_most + 0.1:.3g} at once, from 2")


def test_a_rise_that_lasts_is_wrong_and_one_that_does_not_is_noise() -> None:
    calm, high = [1.0] * 12, 3.1
    assert watched(calm + [high] * 3 + calm)[1] == ""
    step, why = watched(calm + [high] * 4)
    assert (step, why) == (15, "the loss rose to 3.1 in 4 steps, from 1")


def test_a_loss_that_stays_at_guessing_is_wrong_where_it_was_well_below() -> None:
    guessing = math.log(VOCABULARY)
    assert watched([5.0] * 9 + [guessing] * 4) == (12, "the loss rose to 9.01 in 4 steps, from 5")
    assert watched([5.0] * 9 + [guessing - 0.5] * 40)[1] == ""
    assert watched([8.0] * 9 + [guessing] * 40)[1] == ""  # values that were near it already


def test_small_batches_must_rise_for_more_steps() -> None:
    assert [Limits(VOCABULARY, size).lasting for size in (1, 2, 8, 32)] == [32, 16, 4, 4]


def test_data_that_is_harder_later_on_is_not_taken_for_a_rise() -> None:
    grows = [1 + step / 20 for step in range(100)]
    assert watched(grows)[1] == ""


def test_the_usual_is_the_highest_median_of_eight_steps_so_far() -> None:
    losses = [random.Random(1).uniform(0, 1) for _ in range(40)]
    kept, usual = list[float](), 0.0
    for loss in losses:
        kept, usual = Limits(VOCABULARY, 8).after([*kept, loss], usual)
    settled = losses[:-4]
    medians = [median(settled[max(0, end - 8) : end]) for end in range(1, len(settled) + 1)]
    assert usual == max(medians)
