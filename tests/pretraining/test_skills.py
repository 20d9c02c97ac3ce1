"""The tasks that thimble learns to read on: seeded, fresh, and answerable only as they say."""

from __future__ import annotations

import random
import re

import pytest

from skills import (
    ABSTENTION,
    ATTRIBUTES,
    GENERIC,
    LATE_WEIGHTS,
    SKILLS,
    WEIGHTS,
    Turn,
    Words,
    conversation,
    made_up,
    name,
)

DRAWS = range(60)
SIZE = 300
"""Tokens of a conversation, about."""


def answers(turns: list[Turn]) -> list[tuple[str, str]]:
    """(all that was asked so far, answer), for every answer."""
    said: list[str] = []
    pairs = []
    for role, content in turns:
        if role == "assistant":
            pairs.append(("\n\n".join(said), content))
        elif role == "user":
            said.append(content)
    return pairs


def parts(request: str) -> tuple[list[str], str]:
    """The numbered passages of a request, without their numbers, and what is asked of them."""
    passages: list[str] = []
    rest: list[str] = []
    for part in request.split("\n\n"):
        number = re.match(r"\[\d+\] ", part)
        (passages if number else rest).append(part[number.end() :] if number else part)
    [question] = rest
    return passages, question.removeprefix("Question: ")


def is_about(passage: str, title: str) -> bool:
    """Whether the passage is the record of that name, in any of the shapes that records have."""
    heads = tuple(f"{before}{title}{after}" for before in ("", "name: ", "# ") for after in "\n.")
    return passage.startswith(heads)


def readings(question: str) -> set[tuple[str, str]]:
    """Every (title, attribute) that the question can be asking for."""
    found = set()
    for attribute, own in ATTRIBUTES:
        for template in (*own, *GENERIC):
            pattern = re.escape(template.replace("{a}", attribute)).replace(r"\{n\}", "(.+)")
            if match := re.fullmatch(pattern, question):
                found.add((match[1], attribute))
    return found


@pytest.mark.parametrize("skill", SKILLS)
def test_the_same_seed_makes_the_same_task(skill: str, words: Words) -> None:
    once, again = (SKILLS[skill](random.Random(5), words, SIZE) for _ in range(2))
    assert once == again
    assert SKILLS[skill](random.Random(6), words, SIZE) != once


@pytest.mark.parametrize("late", [False, True])
def test_conversations_are_drawn_by_seed(late: bool, words: Words) -> None:
    once, again = (
        [conversation(random.Random(i), words, SIZE, late) for i in range(150)] for _ in range(2)
    )
    assert once == again
    assert {skill for skill, _ in once} == set(LATE_WEIGHTS if late else WEIGHTS)


def test_every_skill_is_drawn_in_some_phase() -> None:
    assert {*WEIGHTS, *LATE_WEIGHTS} == set(SKILLS)


@pytest.mark.parametrize("skill", SKILLS)
def test_a_task_is_a_conversation_that_ends_with_an_answer(skill: str, words: Words) -> None:
    for seed in DRAWS:
        turns = SKILLS[skill](random.Random(seed), words, SIZE)
        roles = [role for role, _ in turns]
        assert roles == ["system", *["user", "assistant"] * (len(turns) // 2)]
        assert all(content.strip() for _, content in turns)


@pytest.mark.parametrize("skill", ["lookup", "once", "choose", "copy", "pick", "finish"])
def test_an_answer_stands_in_what_was_asked(skill: str, words: Words) -> None:
    checked = 0
    for seed in DRAWS:
        for asked, answer in answers(SKILLS[skill](random.Random(seed), words, SIZE)):
            sentence = re.fullmatch(r"The [a-z ]+ of the .+? is (.+)\.", answer)
            if answer != ABSTENTION:
                assert (sentence[1] if sentence else answer) in asked
                checked += 1
    assert checked > len(DRAWS)


def test_every_blank_is_filled_from_the_record(words: Words) -> None:
    for seed in DRAWS:
        turns = SKILLS["fill"](random.Random(seed), words, SIZE)
        for (_, asked), (_, answer) in zip(turns[1::2], turns[2::2], strict=True):
            record, blank = asked.split("\n\nFill in: ")
            filled = re.fullmatch(re.sub(r"\\\{.+?\}", "(.+)", re.escape(blank)), answer)
            assert filled is not None
            assert [value for value in filled.groups() if value not in record] == []


@pytest.mark.parametrize("skill", ["lookup", "once"])
def test_what_is_not_known_is_not_in_the_context(skill: str, words: Words) -> None:
    of_unknown, of_known = 0, 0
    for seed in range(300):
        turns = SKILLS[skill](random.Random(seed), words, SIZE)
        passages: list[str] = []
        for (_, asked), (_, answer) in zip(turns[1::2], turns[2::2], strict=True):
            given, question = parts(asked)
            passages = given or passages
            if answer == ABSTENTION:
                [(title, attribute)] = readings(question)
                about = [passage for passage in passages if is_about(passage, title)]
                assert not any(re.search(rf"(?i)\b{attribute}\b", passage) for passage in about)
                of_known += bool(about)
                of_unknown += not about
    assert of_unknown > 20
    assert of_known > 20 or skill == "once"  # which never asks for what a record lacks


def test_what_is_known_is_told_by_the_record_asked_about(words: Words) -> None:
    """The other half: the same questions, where there is an answer."""
    checked = 0
    for seed in range(100):
        turns = SKILLS["once"](random.Random(seed), words, SIZE)
        for (_, asked), (_, answer) in zip(turns[1::2], turns[2::2], strict=True):
            passages, question = parts(asked)
            if answer != ABSTENTION:
                [(title, _)] = readings(question)
                assert any(is_about(passage, title) and answer in passage for passage in passages)
                checked += 1
    assert checked > 100


def test_names_and_values_are_fresh(words: Words) -> None:
    rng = random.Random(0)
    assert len({name(rng, words) for _ in range(500)}) > 480
    assert len({made_up(rng) for _ in range(500)}) > 450
