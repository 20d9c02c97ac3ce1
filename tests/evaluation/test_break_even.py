"""From how many requests on training pays, and how far timing leaves that open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sartor.evaluation.break_even import BreakEven, break_evens
from sartor.evaluation.records import Measured, Report
from sartor.evaluation.timing import seconds_reach, serving_reach
from sartor.models.language_model import Completion
from sartor.project import Cost, Remote

PRICES = Cost(machine_per_hour=3600.0)  # one a second


def priced(name: str, serving: float, training: float, reach: float | None) -> Report:
    measured = Measured(
        "x", "x", serving, serving + training / 1000, 0, 0.0, 0, training, 1000, reach
    )
    return Report(name, measured, (), (), {}, {})


def even(reach: float | None, other: float | None = 0.0) -> BreakEven:
    dear, cheap = priced("prompt", 3.0, 0.0, reach), priced("lora", 1.0, 100.0, other)
    [found] = break_evens([dear, cheap])
    return found


def test_the_volume_has_the_interval_that_timing_leaves_it() -> None:
    """By hand: 100 / (2 + 0.5) = 40, 100 / (2 - 0.5) = 66.7; 0.3 and 0.4 make 0.5."""
    assert even(0.3, 0.4) == BreakEven("prompt", "lora", 50, 40, 67)
    assert even(0.3, 0.4).says == (
        "prompt is cheaper up to 50 requests, lora beyond (40 to 67, as far as timing can tell)."
    )


def test_where_the_saving_may_be_nothing_it_may_never_pay() -> None:
    assert even(3.0) == BreakEven("prompt", "lora", 50, 20, None)
    assert "(from 20 on, or never, as far as timing can tell)" in even(3.0).says


def test_what_is_not_known_is_not_told() -> None:
    assert even(None) == BreakEven("prompt", "lora", 50)
    assert even(None).says == "prompt is cheaper up to 50 requests, lora beyond."
    assert even(0.0).says == "prompt is cheaper up to 50 requests, lora beyond."


def timed(random: np.random.Generator, noise: float, batch: int = 32) -> list[Completion]:
    """Answers of all lengths, timed in batches of like ones: 0.1 s, and 0.01 s a token."""
    lengths = np.sort(random.geometric(0.05, size=192))
    answers = []
    for start in range(0, len(lengths), batch):
        part = lengths[start : start + batch]
        seconds = float(0.1 + 0.01 * part.mean() + random.normal(0, noise))
        answers += [Completion("", "stop", 0, int(n), seconds) for n in part]
    return answers


@pytest.mark.parametrize("noise", [0.002, 0.03])
def test_the_interval_of_the_seconds_holds_what_they_truly_are(noise: float) -> None:
    """In 95 of 100 of 400 runs, give or take; 0.1 + 0.01 x 20 tokens on average."""
    random, held = np.random.default_rng(0), 0
    for _ in range(400):
        answers = timed(random, noise)
        reach = seconds_reach(answers)
        assert reach is not None
        held += abs(float(np.mean([each.seconds for each in answers])) - 0.3) <= reach
    assert 0.92 <= held / 400 <= 0.98


def test_a_noisier_machine_leaves_more_open_and_longer_answers_are_no_noise() -> None:
    random = np.random.default_rng(1)
    quiet, noisy = (np.mean([seconds_reach(timed(random, n)) for _ in range(50)]) for n in (0, 0.1))
    assert noisy > 3 * quiet
    equal = [replace(one, new_tokens=20, seconds=0.3 + i // 32 * 1e-9)
             for i, one in enumerate(timed(random, 0))]  # fmt: skip
    assert seconds_reach(equal) == pytest.approx(0, abs=1e-6)


def test_few_batches_say_nothing_and_tokens_have_no_timing() -> None:
    few = timed(np.random.default_rng(2), 0.01, batch=96)
    assert seconds_reach(few) is None
    assert serving_reach(few, None, PRICES) is None
    remote = Remote(endpoint="https://localhost/v1", model="m", output_price=1e6)  # one a token
    reach = serving_reach(few, remote, PRICES)
    lengths = [each.new_tokens for each in few]
    assert reach == pytest.approx(1.973 * np.std(lengths, ddof=1) / np.sqrt(192), rel=2e-3)
    timed_here = timed(np.random.default_rng(3), 0.01)
    assert serving_reach(timed_here, None, PRICES) == seconds_reach(timed_here)
