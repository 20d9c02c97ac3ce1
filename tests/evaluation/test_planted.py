"""Planted candidates, over repeated simulated worlds: each gets the verdict that is true of it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import decisions

from sartor.data.records import Conversation, Document, Example, Message, Split, TrainingData
from sartor.evaluation.criteria import fault
from sartor.evaluation.decide import decide
from sartor.evaluation.leaked import marked
from sartor.evaluation.records import Criteria, Measured, Prediction, Report
from sartor.evaluation.report import report
from sartor.evaluation.scorers.place import Place
from sartor.evaluation.scorers.registry import load_scorer
from sartor.evaluation.scorers.token_f1 import TokenF1
from sartor.models.language_model import Completion
from sartor.models.scripted import ScriptedModel


@pytest.mark.parametrize("kind", ["right or wrong", "groups of five"])
def test_worse_equal_and_better_are_called_so(kind: str) -> None:
    """Of 20 worlds of 1,000 examples; the true distances are 0.15, 0 and 0.15, the margin 0.1."""
    found = decisions.planted(kind, 1000, 20, seed=3)
    assert found["worse"].get("worse", 0) >= 0.9
    assert found["better"].get("better", 0) >= 0.9
    assert found["equal"].get("non-inferior", 0) >= 0.8
    assert found["equal"].get("worse", 0) + found["equal"].get("better", 0) <= 0.15
    assert "better" not in found["worse"]
    assert "worse" not in found["better"]


@pytest.mark.parametrize("name", sorted(decisions.WORLDS))
def test_a_whole_decision_hardly_ever_says_anything_false(name: str) -> None:
    """5 % of worlds at most; 9 of 80 would be seen twice in a hundred such tests."""
    assert decisions.false_statements("right or wrong", name, 100, 80, seed=2) <= 8 / 80


def test_stopping_the_hopeless_leaves_the_final_intervals_right() -> None:
    found = decisions.stopping("right or wrong", 60, seed=4)
    assert 0.90 <= found["coverage"] <= 1.0  # 93 to 97 %, give or take what 120 of them can show
    assert found["stopped, 0.4 behind"] >= 0.9
    assert found["stopped, 0.05 behind"] == 0
    assert found["stopped, 0 behind"] == 0


WORDS = [a + b for a in ("ba", "lo", "mi", "ku", "te", "so") for b in ("ran", "vel", "dok", "pim")]


def sentence(draw: random.Random, words: int = 14) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))


def world(draw: random.Random) -> Split:
    """Answers in their writer's own words, which stand nowhere else."""
    made = [
        Example(f"e{i}", (Message("user", f"what of {sentence(draw, 5)}"),), (sentence(draw),))
        for i in range(90)
    ]
    documents = (Document("d", sentence(draw, 400), "d.txt", "", "", "x", ""),)
    return Split(TrainingData(documents, tuple(made[:30]), tuple(made[30:40])), tuple(made[40:]))


def answered(name: str, technique: str, split: Split, say: Callable[[Example], str]) -> Report:
    rows = [Prediction(e, Completion(say(e), "stop", 1, 1, 0.1)) for e in split.test]
    return report(name, Measured(technique, "x", 0.1, 1.0, 0, 0.0, 1), rows, [TokenF1()])


def own_words(draw: random.Random) -> Callable[[Example], str]:
    """Half of the right words, in another order: a good answer of somebody who was not shown it."""

    def say(example: Example) -> str:
        words = example.targets[0].split()
        return " ".join(draw.sample(words, len(words)))

    return say


def slipped(draw: random.Random, share: float) -> Callable[[Example], str]:
    """The right answer word for word, of some; else something."""
    return lambda e: e.targets[0] + "." if draw.random() < share else sentence(draw)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_a_candidate_that_learned_the_test_part_is_found_out_and_does_not_win(share: float) -> None:
    for seed in range(12):
        draw = random.Random(seed)
        split = world(draw)
        ours = answered("lora", "lora", split, own_words(draw))
        leaked = answered("leaked", "given", split, slipped(draw, share))
        honest = answered("honest", "given", split, own_words(draw))
        reports = marked([ours, leaked, honest], split)
        assert [bool(one.leaked) for one in reports] == [False, True, False]
        decision = decide(reports, Criteria("token_f1", 0.03), seed=0)
        verdicts = {row.candidate: row for row in decision.comparisons}
        assert verdicts["leaked"].verdict == "refused"
        assert "it has seen the test part" in verdicts["leaked"].reason
        assert {decision.winner, decision.best} <= {"lora", "honest"}
        assert {row.against for row in decision.comparisons} <= {"lora", "honest", ""}


def test_a_scorer_of_ones_own_that_is_called_leak_refuses_nobody() -> None:
    split = world(random.Random(0))
    ours = replace(answered("a", "x", split, lambda _: "no"), notes={"leak": "counts drips"})
    assert fault(ours, Criteria("token_f1", 0.03)) == ""


def test_words_that_anybody_could_have_are_no_leak() -> None:
    """What the documents say, what training rows answer, templates that are filled in, short
    answers, and what a candidate made here says as well."""
    draw = random.Random(0)
    split = world(draw)
    base = answered("zero-shot", "zero-shot", split, lambda e: sentence(draw))

    def is_marked(test: list[Example], training: TrainingData, *others: Report) -> bool:
        told = replace(split, test=tuple(test), training=training)
        given = answered("given", "given", told, lambda e: e.targets[0])
        ours = answered("zero-shot", "zero-shot", told, lambda e: "no")
        return bool(marked([ours, *others, given], told)[-1].leaked)

    test, training = list(split.test), split.training
    assert is_marked(test, training)
    text = " ".join(example.targets[0] for example in test)
    documents = (Document("d", text, "d.txt", "", "", "x", ""),)
    assert not is_marked(test, replace(training, documents=documents))
    assert not is_marked([replace(e, targets=(e.targets[0][:30],)) for e in test], training)

    def templated(examples: tuple[Example, ...]) -> list[Example]:
        return [
            Example(
                e.id, (Message("user", f"where is order {i} of {draw.choice(WORDS)} {e.id}x"),),
                (f"thank you for asking about {i} {e.id}x which left our house {i + 3} days ago",),
            )
            for i, e in enumerate(examples)
        ]  # fmt: skip

    rows = tuple(templated(training.train))
    assert not is_marked(templated(split.test), replace(training, train=rows))
    same = answered("lora", "lora", split, lambda e: e.targets[0])
    assert not is_marked(test, training, same)
    assert marked([base], split) == (base,)


def longer(conversation: Conversation) -> str:
    """A judge that gives its grade by length alone."""
    found = re.search(r"<<<(answer \w+)\n(.*)\n\1>>>", conversation[-1].content, re.DOTALL)
    assert found
    return json.dumps({"grade": min(5, 1 + len(found[2]) // 40)})


def fair(conversation: Conversation) -> str:
    return json.dumps({"grade": 5 if "right" in conversation[-1].content else 1})


@pytest.mark.parametrize(("answer", "trusted"), [(longer, False), (fair, True)])
def test_a_judge_is_trusted_only_if_it_does_not_go_by_length(
    tmp_path: Path, answer: Any, trusted: bool
) -> None:
    """Twelve experts who label 80 answers each, of which half are right, of any length."""
    accused = 0
    for seed in range(12):
        draw = random.Random(seed)
        rows = [
            {
                "id": str(i), "input": "?", "label": 5 if i % 2 else 1,
                "output": ("right " if i % 2 else "wrong ") + "so " * draw.randrange(1, 60),
            }
            for i in range(80)
        ]  # fmt: skip
        (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = {"model": "m", "rubric": "Is it right?", "repeats": 1, "labels": "labels.jsonl"}
        where = Place(tmp_path, lambda _: ScriptedModel(answer))
        note = load_scorer("judge", settings, where).note([], [])  # type: ignore[attr-defined]
        assert note.startswith("validated" if trusted else "unvalidated"), note
        accused += "it prefers longer answers" in note
    assert accused == 0 if trusted else accused >= 11
