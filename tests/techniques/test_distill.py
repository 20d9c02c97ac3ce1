"""Distillation: what the teacher is shown and asked, which answers are learned, and from whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic.dataclasses import dataclass
from tests import tiny_models
from tests.techniques.recorder import CARD, Recorder, recorded
from tests.training.test_loop import ALIKE

from sartor.data.files import digest
from sartor.data.records import Conversation, Example, Message, TrainingData
from sartor.errors import ModelError, SettingError, TrainingError
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.models.scripted import ScriptedModel
from sartor.settings import STRICT
from sartor.techniques.distill import Distill
from sartor.techniques.lora import LoRA
from sartor.techniques.registry import build
from sartor.techniques.technique import Customization

TEACHER = f"{__name__}:Teacher"
ASKED: list[str] = []
SAID = {
    "one": "The first answer.", "two": "I don't know.", "three": "", "four": "wrong",
    "five": "The fifth answer.", "six": "a b c d e f g h i j k l m n o p",
}  # fmt: skip


@dataclass(frozen=True, config=STRICT)
class Teacher:
    """Knows `SAID`, and notes what it is shown and asked."""

    name: ClassVar[str] = "teacher"
    fails_after: int = 1000

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        return Customization(self.name, base, str(directory), digest(data.train), 0, 1.0, 0)

    def load(self, customization: Customization) -> LanguageModel:
        def answer(conversation: Conversation) -> str:
            if len(ASKED) >= self.fails_after:
                raise KeyboardInterrupt
            ASKED.append(conversation[-1].content)
            return SAID[conversation[-1].content]

        return ScriptedModel(answer)


@dataclass(frozen=True, config=STRICT)
class Student(LoRA):
    """Trains nothing, and keeps what it was given."""

    name: ClassVar[str] = "student"

    def fit(
        self, base: ModelCard, data: TrainingData, directory: Path, course: Any = None
    ) -> Customization:
        return Recorder().fit(base, data, directory)

    def load(self, customization: Customization) -> LanguageModel:
        return Recorder().load(customization)


def example(asked: str, *targets: str, **more: Any) -> Example:
    return Example(f"e-{asked}", (Message("user", asked),), targets, **more)


TRAIN = (
    example("one", "An answer."), example("two", "An answer.", answerable=False),
    example("three", "Third."), example("four", "Fourth.", rejected=("Wrong!",)),
)  # fmt: skip
DATA = TrainingData((), TRAIN, (example("five", "Fifth."),), (example("five", rejected=("no",)),))


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ASKED.clear()


def distill(**settings: Any) -> Distill:
    return Distill(
        **{"inner": Student(), "teacher_technique": TEACHER, "max_new_tokens": 8, **settings}
    )


def learned(directory: Path) -> dict[str, tuple[str, ...]]:
    return {e.id: e.targets for e in recorded(directory, "train")}


def test_the_student_learns_what_the_teacher_said(tmp_path: Path) -> None:
    """Right answers stay right; refusals, empty and rejected ones give way to the example's own."""
    made = distill().fit(CARD, DATA, tmp_path)
    assert learned(tmp_path) == {
        "e-one": ("The first answer.", "An answer."),
        "e-two": ("I don't know.", "An answer."),
        "e-three": ("Third.",),
        "e-four": ("Fourth.",),
        "e-five": ("The fifth answer.",),
    }
    assert [e.targets for e in recorded(tmp_path, "validation")] == [("Fifth.",)]
    assert made.notes == ("3 of 5 answers of the teacher kept",)
    assert made.seconds >= 2 + 2  # two teachers' and the student's


def test_what_the_teacher_did_not_answer_can_be_left_out(tmp_path: Path) -> None:
    distill(own_answers=False).fit(CARD, DATA, tmp_path)
    assert set(learned(tmp_path)) == {"e-one", "e-two", "e-five"}


def test_answers_that_agree_too_little_are_dropped(tmp_path: Path) -> None:
    distill(agreement=0.45, own_answers=False).fit(CARD, DATA, tmp_path)
    assert set(learned(tmp_path)) == {"e-five"}  # nobody knows better


def test_an_answer_that_was_cut_off_is_learned_only_where_that_is_wanted(tmp_path: Path) -> None:
    data = replace(DATA, train=(*TRAIN, example("six", "Sixth.")))
    distill().fit(CARD, data, tmp_path / "usual")
    assert learned(tmp_path / "usual")["e-six"] == ("Sixth.",)
    distill(keep_cut_off=True).fit(CARD, data, tmp_path / "kept")
    assert learned(tmp_path / "kept")["e-six"] == ("a b c d e f g h", "Sixth.")


def test_a_teacher_is_never_shown_what_it_is_asked(tmp_path: Path) -> None:
    many = tuple(example("one", "An answer.") for _ in range(12))
    train = tuple(replace(e, id=f"e{i}", group=f"g{i // 2}") for i, e in enumerate(many))
    folds = distill()._folds(replace(DATA, train=train), train)
    groups = {e.id: e.group for e in train}
    assert sorted(e.id for _, part in folds for e in part) == sorted(groups)
    for seen, part in folds:
        assert seen.train
        assert not {groups[e.id] for e in seen.train} & {e.group for e in part}
    [(seen, part)] = distill(teacher_technique="rag")._folds(DATA, TRAIN)
    assert seen == DATA
    assert part == list(TRAIN)


def test_a_killed_teacher_is_not_asked_again_what_it_answered(tmp_path: Path) -> None:
    dying = {"teacher_settings": {"fails_after": 3}}
    with pytest.raises(KeyboardInterrupt):
        distill(**dying).fit(CARD, DATA, tmp_path)
    first = len(ASKED)
    distill().fit(CARD, DATA, tmp_path)
    assert len(ASKED) > first
    before = len(ASKED)
    distill(agreement=0.2).fit(CARD, DATA, tmp_path)
    assert len(ASKED) == before


def test_a_line_that_a_kill_cut_inside_a_letter_is_asked_again(tmp_path: Path) -> None:
    distill().fit(CARD, DATA, tmp_path)
    kept = tmp_path / "teacher" / "answers.jsonl"
    whole = kept.read_bytes()
    *rows, _ = whole.splitlines(keepends=True)
    for torn in (b'{"finish":"stop","text":"\xc3', b'{"finish":"stop","te'):
        kept.write_bytes(b"".join(rows) + torn)
        before = len(ASKED)
        distill().fit(CARD, DATA, tmp_path)
        assert len(ASKED) == before + 1
        assert kept.read_bytes() == b"".join([*rows, torn, b"\n", whole.splitlines(True)[-1]])


def test_a_teacher_of_whose_answers_nothing_is_left_is_an_error(tmp_path: Path) -> None:
    data = replace(DATA, train=TRAIN[2:], disliked=())
    with pytest.raises(TrainingError, match="none of the teacher's 2 answers can be learned from"):
        distill().fit(CARD, data, tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"teacher_technique": "zero-shot"}, "is shown nothing more"),
        ({"teacher_technique": "fewshot"}, "did you mean 'few-shot'"),
        ({"teacher_settings": {"exampels": 2}}, "did you mean 'examples'"),
        ({"agreement": 2}, "agreement is 2"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        build("distill", settings)


def test_a_student_must_learn_something() -> None:
    with pytest.raises(SettingError, match="zero-shot inside it learns nothing"):
        build("distill+zero-shot")


def test_a_teacher_that_is_not_there_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a folder with a model"):
        Distill(teacher=str(tmp_path / "none.txt")).refuse(CARD)


def test_another_base_teaches_a_real_student(tmp_path: Path) -> None:
    """A fully trained teacher's answers are what the student then gives."""
    teacher = tiny_models.save(tmp_path / "teacher", "gpt2")
    student = tiny_models.save(tmp_path / "student")
    quick = {"learning_rates": (1e-2,), "epochs": 12, "batch_size": 4, "looks": 3}
    technique = build(
        "distill+lora",
        {
            "teacher": teacher.path, "teacher_technique": "full", "teacher_settings": quick,
            "own_answers": False, "max_new_tokens": 8,
        },
        {"lora": {**quick, "epochs": 8}},
    )  # fmt: skip
    other = replace(ALIKE, train=tuple(replace(e, targets=("green",)) for e in ALIKE.train))
    made = technique.fit(student, other, tmp_path / "made")
    assert made.notes[0] == "8 of 8 answers of the teacher kept"
    [answer] = technique.load(made).generate([ALIKE.train[0].input], Sampling(max_new_tokens=8))
    assert isinstance(answer, Completion)
    assert answer.text == "green"
