"""Thumbs, corrections and rejected answers: how they are read, and where they go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sartor.data.collect import Collected
from sartor.data.example_rows import example
from sartor.data.fields import BadRow
from sartor.data.prepare import Preparation, prepare
from sartor.data.prepared_files import load, save
from sartor.data.records import Example, Message

ASK = [{"role": "user", "content": "Is it green?"}]
SAY = [{"role": "assistant", "content": "Yes."}]
NAY = [{"role": "assistant", "content": "No."}]


@pytest.mark.parametrize(
    ("row", "targets", "rejected"),
    [
        ({"input": "Is it green?", "output": "Yes.", "rejected": "No."}, ["Yes."], ["No."]),
        ({"prompt": "Is it green?", "chosen": "Yes.", "rejected": "No."}, ["Yes."], ["No."]),
        ({"prompt": ASK, "chosen": SAY, "rejected": NAY}, ["Yes."], ["No."]),
        ({"chosen": [*ASK, *SAY], "rejected": [*ASK, *NAY]}, ["Yes."], ["No."]),
        ({"input": "Is it green?", "output": "No.", "correction": "Yes."}, ["Yes."], ["No."]),
        (
            {"input": "Is it green?", "output": "No.", "correction": "Yes.", "verdict": "down"},
            ["Yes."], ["No."],
        ),
        ({"input": "Is it green?", "output": "No.", "verdict": "down"}, [], ["No."]),
        ({"input": "Is it green?", "output": "Yes.", "verdict": "up"}, ["Yes."], []),
        ({"input": "Is it green?", "output": "Yes.", "verdict": ""}, ["Yes."], []),
        ({"prompt": "Is it green?", "completion": "Yes.", "label": True}, ["Yes."], []),
        ({"prompt": "Is it green?", "completion": "No.", "label": False}, [], ["No."]),
        ({"prompt": ASK, "completion": NAY, "label": False}, [], ["No."]),
        ({"prompt": "Is it green?", "completion": "No.", "label": "False"}, [], ["No."]),
        ({"input": "Is it green?", "rejected": ["No.", "Blue."]}, [], ["No.", "Blue."]),
        ({"messages": [*ASK, *SAY], "rejected": "No."}, ["Yes."], ["No."]),
    ],
)  # fmt: skip
def test_judgements_are_read(row: dict[str, Any], targets: list[str], rejected: list[str]) -> None:
    read = example(row, "e", "file:1")
    assert read.input == (Message("user", "Is it green?"),)
    assert list(read.targets) == targets
    assert list(read.rejected) == rejected
    assert read.tags == ()


def test_a_label_that_is_no_thumb_is_a_tag() -> None:
    read = example({"prompt": "?", "completion": "No.", "label": "color"}, "e", "file:1")
    assert (read.targets, read.rejected, read.tags) == (("No.",), (), ("color",))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"input": "?", "output": "a", "rejected": "a"}, "is one of the right answers too"),
        ({"input": "?", "output": "a", "rejected": 3}, "rejected: is 3; expected text in quotes"),
        ({"input": "?", "output": "a", "verdict": "meh"}, 'expected "up" or "down"'),
        ({"input": "?", "verdict": "down"}, "verdict: judges nothing"),
        ({"input": "?", "correction": "a"}, "correction: corrects nothing"),
        ({"output": "a", "verdict": "down"}, "has no question"),
    ],
)
def test_a_judgement_that_says_nothing_is_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRow, match=said):
        example(row, "e", "file:1")


WORDS = ("lamp", "chair", "shelf", "stool", "bench", "clock", "bowl", "vase", "rug", "desk")


def right(number: int) -> Example:
    asked = f"Of what {WORDS[number % 10]} and {WORDS[number // 10]} is number {number} made?"
    return Example(f"e{number}", (Message("user", asked),), (f"wood {number}",))


def wrong(id: str, asked: str, group: str = "") -> Example:
    return Example(id, (Message("user", asked),), (), group, rejected=("stone",))


def test_disliked_answers_are_trained_on_and_never_held_out(tmp_path: Path) -> None:
    examples = [right(number) for number in range(100)]
    others = [wrong(f"w{number}", f"Who broke the {word}?") for number, word in enumerate(WORDS)]
    prepared = prepare(Collected((), (*examples, *others), ()), Preparation())
    training = prepared.split.training
    assert {one.id for one in training.disliked} == {one.id for one in others}
    for part in (training.train, training.validation, prepared.split.test):
        assert all(one.targets for one in part)
    assert prepared.counts["test"] == 20
    save(prepared, tmp_path)
    assert load(tmp_path) == prepared


def test_a_disliked_answer_joins_the_right_one_to_the_same_request() -> None:
    examples = [right(number) for number in range(100)]
    same = [wrong(f"w{n}", examples[n].input[0].content.upper()) for n in range(100)]
    prepared = prepare(Collected((), (*examples, *same), ()), Preparation())
    training = prepared.split.training
    assert training.disliked == ()
    assert all(one.rejected == ("stone",) for one in training.train)


def test_what_is_held_out_is_not_disliked_in_training() -> None:
    """Neither by its group, nor nearly in its words."""
    long = "please look it up and tell me in a word or two, whatever you can find there: "
    examples = [right(number) for number in range(100)]
    asked = {one.id: long + one.input[0].content for one in examples}
    told = [Example(e.id, (Message("user", asked[e.id]),), e.targets, f"g{e.id}") for e in examples]
    near = [wrong(f"n{e.id}", asked[e.id].replace("made?", "made of?")) for e in told]
    kin = [wrong(f"k{e.id}", f"Who broke {e.id}?", f"g{e.id}") for e in told]
    prepared = prepare(Collected((), (*told, *near, *kin), ()), Preparation())
    held = {one.id for one in (*prepared.split.training.validation, *prepared.split.test)}
    kept = {one.id for one in prepared.split.training.disliked}
    assert kept
    assert not {f"n{id}" for id in held} & kept
    assert not {f"k{id}" for id in held} & kept
    reasons = {one.reason for one in prepared.dropped}
    assert reasons == {"has no right answer, and asks what is held out"}
