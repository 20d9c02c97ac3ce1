"""What every scorer keeps to, ours and any that is registered later."""

from __future__ import annotations

import copy
import random

import pytest

from sartor.data.records import Example, Message, Passage
from sartor.evaluation.records import Prediction
from sartor.evaluation.scorer import Scorer
from sartor.evaluation.scorers.registry import SCORERS, load_scorer
from sartor.models.language_model import Completion

TARGETS = (
    "$12.99", "Yes. The license may be used.", "D. all of the above", "A", "the",
    "żółć", "答えは京都です。", "- one\n- two\u2028three", "हिन्दी", "👍",
    "?!", "apparel/shirt", "1,299.50", "I don't know.", '{"price": 12.99}',
    "Die Kündigungsfrist beträgt vier Wochen zum Ende eines Monats.",
)  # fmt: skip
TEXTS = (
    "", " ", "\n", "\x00", "...", "The answer is 12.99 for [1] Boston.", "a " * 500,
    "🏳️‍🌈", "e\u0301",
    "-", "$",
)  # fmt: skip
OPTION = 1 + TARGETS.index("A")
SELECTIVE = {
    "numeric", "choice", "choice_likelihood", "fields", "language", "citation_precision",
}  # fmt: skip
"""Scorers that apply to some targets or answers only: numbers, options, JSON, long texts."""


@pytest.fixture(params=SCORERS)
def scorer(request: pytest.FixtureRequest) -> Scorer:
    return load_scorer(request.param)


def predictions() -> list[Prediction]:
    """Every text against every target, with and without passages, answerable or not."""
    made = []
    for place, text in enumerate((*TEXTS, *TARGETS)):
        for number, target in enumerate(("", *TARGETS)):
            example = Example(
                id=f"{place}-{number}",
                input=(Message("user", "What does it cost in Boston?"),),
                targets=(target,) if number else (),
                answerable=bool((place + number) % 3),
                evidence=("d",),
                choices=("A", "28 days") if number == OPTION else (),
            )
            given = (Passage("d", 0, 9, "It costs $12.99 in Boston."),) * (number % 2)
            likeliest = number % 2 if example.choices else None
            made.append(Prediction(example, Completion(text, "stop", 1, 1, 0.1, given), likeliest))
    return made


def test_scores_lie_between_0_and_1_and_carry_the_scorers_name(scorer: Scorer) -> None:
    everything = predictions()
    scores = scorer.score(everything)
    assert scores
    assert all(0 <= score.value <= 1 for score in scores)
    assert all(score.value in (0, 1) for score in scores if scorer.binary)
    assert {score.scorer for score in scores} == {scorer.name}
    ids = [score.example_id for score in scores]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= {prediction.example.id for prediction in everything}


def test_a_score_depends_neither_on_the_order_nor_on_the_batch(scorer: Scorer) -> None:
    everything = predictions()
    whole = {score.example_id: score for score in scorer.score(everything)}
    shuffled = random.Random(0).sample(everything, len(everything))
    assert {score.example_id: score for score in scorer.score(shuffled)} == whole
    alone = [score for prediction in everything[::7] for score in scorer.score([prediction])]
    kept = {prediction.example.id for prediction in everything[::7]}
    assert alone == [score for id, score in whole.items() if id in kept]


def test_scoring_twice_gives_the_same_and_changes_nothing(scorer: Scorer) -> None:
    everything = predictions()
    before = copy.deepcopy(everything)
    assert scorer.score(everything) == scorer.score(everything)
    assert everything == before


def test_nothing_to_score_is_no_score(scorer: Scorer) -> None:
    assert scorer.score([]) == []


def test_the_name_is_the_one_it_is_registered_by(scorer: Scorer) -> None:
    assert SCORERS[scorer.name]


@pytest.mark.parametrize("target", TARGETS)
def test_a_perfect_answer_scores_1_wherever_the_scorer_applies(scorer: Scorer, target: str) -> None:
    example = Example("e", (Message("user", "What?"),), (target,), evidence=("d",))
    given = (Passage("d", 0, len(target), target),)
    if scorer.name == "citation_recall":
        return  # asks that every sentence cites something, which these do not
    scores = scorer.score([Prediction(example, Completion(target, "stop", 1, 1, 0.1, given))])
    wordless = not any(character.isalnum() for character in target)
    if scorer.name in ("answered", "abstention", "groundedness") and wordless:
        return  # "?!" is right word for word, and says nothing
    if scores or scorer.name not in SELECTIVE:
        assert [score.value for score in scores] == [1.0]
