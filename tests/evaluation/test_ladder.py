"""The step down a ladder of sizes: on validation, by the decision's own rule."""

from __future__ import annotations

import random

from sartor.data.records import Example, Message
from sartor.evaluation.ladder import step
from sartor.evaluation.records import Estimate, Measured, Prediction, Report, Score
from sartor.models.language_model import Completion

MEASURED = Measured("zero-shot", "base", 1.0, 1.0, 0, 0.0, 0)


def report(name: str, values: list[float], scorer: str = "token_f1") -> Report:
    """A report on validation with those scores."""
    examples = [Example(f"e{i}", (Message("user", "?"),), ("!",)) for i in range(len(values))]
    answer = Completion("!", "stop", 1, 1, 1.0)
    scores = [Score(e.id, "token_f1", value) for e, value in zip(examples, values, strict=True)]
    mean = sum(values) / len(values)
    return Report(
        name,
        MEASURED,
        tuple(Prediction(e, answer) for e in examples),
        tuple(scores) if scorer == "token_f1" else (),
        {scorer: Estimate(mean, mean, mean, len(values))},
        {},
    )


LARGE = report("rag@large", [1.0] * 28 + [0.0] * 2)


def test_a_rung_that_is_shown_to_be_worse_ends_the_ladder() -> None:
    worse = [report("rag@small", [1.0] * 8 + [0.0] * 22), report("lora@small", [0.0] * 30)]
    found = step(worse, [LARGE], "token_f1", 0.03, 0)
    assert not found.goes_on
    assert "on 30 validation examples its nearest, rag@small, is worse than rag@large by 0.667" in (
        found.why
    )


def test_one_candidate_that_holds_is_enough() -> None:
    rung = [report("rag@small", [0.0] * 30), report("lora@small", [1.0] * 27 + [0.0] * 3)]
    assert step(rung, [LARGE], "token_f1", 0.03, 0).goes_on


def test_what_cannot_be_told_goes_on() -> None:
    rung = [report("rag@small", [1.0] * 25 + [0.0] * 5)]
    found = step(rung, [LARGE], "token_f1", 0.03, 0)
    assert found.goes_on
    assert "rag@small, is not shown to be worse than rag@large" in found.why


def test_worse_within_the_margin_is_good_enough() -> None:
    rung = [report("rag@small", [0.9] * 28 + [0.0] * 2)]
    assert step(rung, [LARGE], "token_f1", 0.5, 0).goes_on


def test_the_best_goes_on_and_so_does_what_cannot_be_compared() -> None:
    assert "has the highest" in step([LARGE], [report("a", [0.0] * 30)], "token_f1", 0.03, 0).why
    assert step([LARGE], [], "token_f1", 0.03, 0).goes_on
    assert step([], [LARGE], "token_f1", 0.03, 0).goes_on
    assert step([report("x", [0.0] * 30, "other")], [LARGE], "token_f1", 0.03, 0).goes_on


def test_a_base_that_is_as_good_seldom_ends_the_ladder() -> None:
    """Simulated: 200 worlds of 60 validation examples, three candidates on each of two bases."""
    chance, ended = random.Random(7), 0
    for seed in range(200):
        large, small = (
            [
                report(f"{i}@{base}", [float(chance.random() < 0.7) for _ in range(60)])
                for i in range(3)
            ]
            for base in ("large", "small")
        )
        ended += not step(small, large, "token_f1", 0.03, seed).goes_on
    assert ended <= 10  # 5 expected at most; more than 10 then have a chance of 1.4 %
