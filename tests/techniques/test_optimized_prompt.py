"""Optimized prompts: what is tried, how few answers that takes, and what is served."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic.dataclasses import dataclass

from sartor.data.files import digest, read_json
from sartor.data.records import Conversation, Example, Message, TrainingData
from sartor.errors import SettingError, TrainingError
from sartor.evaluation.scorers.token_f1 import token_f1
from sartor.models.language_model import LanguageModel, ModelCard, Sampling
from sartor.models.scripted import ScriptedModel
from sartor.settings import STRICT
from sartor.techniques.agreement import agreement
from sartor.techniques.optimized_prompt import Judged, OptimizedPrompt, Prompt
from sartor.techniques.registry import build
from sartor.techniques.technique import Customization

CARD = ModelCard("scripted", "", "r1", "Scripted", 0, 2048)
ASKED: list[Conversation] = []
MAGIC = "Say it in French."


@dataclass(frozen=True, config=STRICT)
class Fussy:
    """Answers right only when it is told so, or shown enough."""

    name: ClassVar[str] = "fussy"
    wants: str = MAGIC
    shown: int = 0

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        made_of = digest(self.wants, self.shown)
        return Customization(self.name, base, str(directory), made_of, 0, 0.0, 0)

    def load(self, customization: Customization) -> LanguageModel:
        def answer(conversation: Conversation) -> str:
            ASKED.append(conversation)
            shots = sum(message.role == "assistant" for message in conversation)
            told = self.wants in conversation[0].content and conversation[0].role == "system"
            return right(conversation[-1].content) if told and shots >= self.shown else "no idea"

        return ScriptedModel(answer)


def right(request: str) -> str:
    return f"vert {request.split()[-1]}"


def examples(part: str, count: int) -> tuple[Example, ...]:
    asked = [f"What color is {part} {number}" for number in range(count)]
    return tuple(
        Example(f"{part}{i}", (Message("user", text),), (right(text),))
        for i, text in enumerate(asked)
    )


DATA = TrainingData((), examples("train", 30), examples("held", 40))


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ASKED.clear()


def optimized(**settings: Any) -> OptimizedPrompt:
    inner = Fussy(**settings.pop("fussy", {}))
    return OptimizedPrompt(**{"inner": inner, "instructions": (MAGIC,), **settings})


def chosen(directory: Path) -> Prompt:
    return read_json(directory / "prompt.json", Prompt)


def test_the_instruction_that_helps_is_found_and_served(tmp_path: Path) -> None:
    technique = optimized()
    made = technique.fit(CARD, DATA, tmp_path)
    assert chosen(tmp_path) == Prompt(MAGIC)
    assert made.notes[0] == f"{MAGIC!r} and 0 examples, of 16 prompts"
    model = technique.load(made)
    [answer] = model.generate([(Message("user", "What color is 7"),)], Sampling())
    assert answer.text == "vert 7"
    assert made.trainable_parameters == 0


def test_examples_are_shown_where_they_help(tmp_path: Path) -> None:
    technique = optimized(fussy={"shown": 3}, prompts=40)
    made = technique.fit(CARD, DATA, tmp_path)
    found = chosen(tmp_path)
    assert (found.system, len(found.shown)) == (MAGIC, 4)
    assert {example.id for example in found.shown} <= {example.id for example in DATA.train}
    [answer] = technique.load(made).generate([(Message("user", "Which is 7"),)], Sampling())
    assert answer.text == "vert 7"


def test_what_answers_look_like_makes_instructions_too(tmp_path: Path) -> None:
    few = tuple(
        replace(e, targets=(("yes", "no")[i % 2],)) for i, e in enumerate(examples("train", 30))
    )
    technique = optimized(fussy={"wants": "one of these, and nothing else: no, yes."}, prompts=24)
    technique.fit(CARD, replace(DATA, train=few), tmp_path)
    assert chosen(tmp_path).system == "Answer with one of these, and nothing else: no, yes."


def test_poor_prompts_are_asked_little(tmp_path: Path) -> None:
    optimized(prompts=16).fit(CARD, DATA, tmp_path)
    table = read_json(tmp_path / "prompts.json", list[Judged])
    assert len(table) == 16
    counts = Counter(judged.validation_examples for judged in table)
    assert counts == {8: 8, 16: 4, 32: 2, 40: 2}
    best = max(table, key=lambda judged: (judged.validation_examples, judged.agreement))
    assert (best.system, best.agreement) == (MAGIC, 1.0)
    assert len(ASKED) < 16 * 40 / 2


def test_no_answer_is_asked_for_twice(tmp_path: Path) -> None:
    technique = optimized(prompts=16)
    first = technique.fit(CARD, DATA, tmp_path)
    before = len(ASKED)
    assert len({(tuple(c)) for c in ASKED}) == before
    assert technique.fit(CARD, DATA, tmp_path).digest == first.digest
    assert len(ASKED) == before
    with (tmp_path / "asked.jsonl").open("a") as file:
        file.write('{"key": "half of a li')
    technique.fit(CARD, DATA, tmp_path)
    assert len(ASKED) == before


def test_a_request_with_its_own_system_prompt_keeps_it(tmp_path: Path) -> None:
    technique = optimized()
    model = technique.load(technique.fit(CARD, DATA, tmp_path))
    own = Message("system", "Be brief.")
    model.generate([(own, Message("user", "What is 7"))], Sampling())
    assert ASKED[-1][0] == own


def test_the_same_prompts_are_tried_for_the_same_seed(tmp_path: Path) -> None:
    tables = []
    for number, seed in enumerate((0, 0, 1)):
        optimized(seed=seed).fit(CARD, DATA, tmp_path / str(number))
        tables.append((tmp_path / str(number) / "prompts.json").read_text())
    assert tables[0] == tables[1] != tables[2]


def test_it_goes_before_all_else() -> None:
    with pytest.raises(SettingError, match=r"so it goes first: 'optimized-prompt\+rag'"):
        build("rag+optimized-prompt")
    assert build("optimized-prompt+rag")


def test_without_validation_there_is_nothing_to_choose_by(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there are 30 training and 0 validation examples"):
        optimized().fit(CARD, replace(DATA, validation=()), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["examples", "prompts", "validation_examples", "max_new_tokens"])
def test_settings_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name} is 0"):
        build("optimized-prompt", {name: 0})


@pytest.mark.reference
@pytest.mark.parametrize(
    ("answer", "target"),
    [("Green.", "green"), ("It is dark green", "green"), ("", ""), ("no", ""), ("3.5 kg", "3.5"),
     ("red red blue", "red blue blue")],
)  # fmt: skip
def test_agreement_is_the_scorer_s_word_f1(answer: str, target: str) -> None:
    assert agreement(answer, [target]) == pytest.approx(token_f1(answer, target))
