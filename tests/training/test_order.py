"""The order of training: everything once, what begins alike together, and never too much of it."""

from __future__ import annotations

from itertools import pairwise

from sartor.training.order import alike, shuffled
from sartor.training.packing import Encoded

SYSTEM = tuple(range(100, 140))


def example(document: int, question: int, length: int = 60) -> Encoded:
    """A prompt of a system prompt, a document and a question, and an answer."""
    passage = tuple(1000 * (document + 1) + i for i in range(length))
    asked = tuple(20 * question + i for i in range(10))
    prompt = (*SYSTEM, *passage, *asked)
    return Encoded(f"{document}-{question}", (*prompt, 7, 8, 9), len(prompt))


def test_examples_of_one_document_are_found_and_a_system_prompt_makes_no_kin() -> None:
    examples = [example(n % 3, n) for n in range(9)]
    found = {frozenset(examples[i].id[0] for i in group) for group in alike(examples)}
    assert found == {frozenset("0"), frozenset("1"), frozenset("2")}
    strangers = [example(n, n) for n in range(4)]
    assert sorted(alike(strangers)) == [[0], [1], [2], [3]]
    assert alike([]) == []
    assert alike(strangers[:1]) == [[0]]


def test_a_short_common_part_is_no_reason_to_stand_together() -> None:
    short = [example(0, n, length=4) for n in range(4)]
    assert len(alike(short)) == 4


def test_every_example_comes_once_and_runs_are_no_longer_than_told() -> None:
    groups = [[0, 1, 2, 3, 4], [5], [6, 7]]
    of = {place: n for n, group in enumerate(groups) for place in group}
    for seed in range(30):
        order = shuffled(groups, 2, f"{seed}")
        assert sorted(order) == list(range(8))
        together = sum(of[a] == of[b] for a, b in pairwise(order))
        assert together >= 3  # two pairs of five, and the one of two
    assert shuffled(groups, 2, "a") == shuffled(groups, 2, "a")
    assert len({tuple(shuffled(groups, 2, f"{seed}")) for seed in range(30)}) > 20


def test_one_at_a_time_is_any_order() -> None:
    groups = [list(range(50))]
    assert shuffled(groups, 1, "0") != list(range(50))
    seen = {tuple(shuffled(groups, 1, f"{seed}")[:2]) for seed in range(200)}
    assert len(seen) > 150
