"""Multiple choice: by what is written, and by what the model itself finds likeliest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests import tiny_models

from sartor.data.example_rows import example
from sartor.data.fields import BadRow
from sartor.data.records import Conversation, Example, Message
from sartor.errors import ModelError, SettingError
from sartor.evaluation.likeliest import with_likeliest
from sartor.evaluation.records import NO_ROOM, Prediction
from sartor.evaluation.scorers.registry import load_scorer
from sartor.models.language_model import Completion
from sartor.models.likelihood import log_likelihoods
from sartor.models.local_model import LocalModel
from sartor.models.scripted import ScriptedModel
from sartor.progress import Silent, shown_by
from sartor.techniques.few_shot import Shots, Shown
from sartor.techniques.zero_shot import Prompted, with_system

COLORS = ("green", "the notice period is four weeks", "red")
LISTED = "Which color?\nA. green\nB. a long and winding color\nC. red"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel(tiny_models.save(tmp_path_factory.mktemp("tiny") / "llama"))


def asked(
    said: str, target: str, choices: tuple[str, ...] = (), text: str = "Which color?"
) -> Prediction:
    made = Example("e", (Message("user", text),), (target,), choices=choices)
    return Prediction(made, Completion(said, "stop", 1, 1, 0.1))


def likeliest(model: LocalModel, conversation: Conversation, options: tuple[str, ...]) -> int:
    [found] = log_likelihoods(model, [conversation], [options])
    means = [one.total / one.tokens for one in found if one]
    return means.index(max(means))


def chosen(model: Any, made: Prediction, folder: Path) -> Prediction:
    [found] = with_likeliest([made], [load_scorer("choice_likelihood")], lambda: model, folder, "x")
    return found


def test_many_are_chosen_together_as_each_alone_and_one_without_room_spoils_none(
    model: LocalModel, tmp_path: Path
) -> None:
    prompted = Prompted(model, "Answer with a color.")
    texts = ["Which color?", "Is the lamp red?", "lamp " * 900, "What is it?"]
    many = [asked("", "red", COLORS, text) for text in texts]
    many = [replace(p, example=replace(p.example, id=f"e{i}")) for i, p in enumerate(many)]
    scorers = [load_scorer("choice_likelihood")]
    (tmp_path / "all").mkdir()
    together = with_likeliest(many, scorers, lambda: prompted, tmp_path / "all", "x")
    alone = []
    for number, one in enumerate(many):
        folder = tmp_path / str(number)
        folder.mkdir()
        alone.append(chosen(prompted, one, folder))
    assert together == alone
    assert [p.likeliest == NO_ROOM for p in together] == [False, False, True, False]


def test_the_model_behind_its_prompt_is_asked_which_option_is_likeliest(
    model: LocalModel, tmp_path: Path
) -> None:
    scorer = load_scorer("choice_likelihood")
    prompted = Prompted(model, "Answer with a color.")
    wanted = likeliest(
        model, with_system((Message("user", "Which color?"),), prompted.system), COLORS
    )
    for place, target in enumerate(COLORS):
        found = chosen(prompted, asked("", target, COLORS), tmp_path / str(place))
        assert found.likeliest == wanted
        [score] = scorer.score([found])
        assert (score.value, score.explanation) == (place == wanted, f"chose {'ABC'[wanted]}")


def test_shown_examples_stand_before_the_options(model: LocalModel, tmp_path: Path) -> None:
    pool = [Example("t", (Message("user", "Which lamp?"),), ("red",))]
    shots = Shots(pool, 1, "fixed")
    stack = Shown(model, shots)
    request = (Message("user", "Which color?"),)
    wanted = likeliest(model, shots.before(request, 1), COLORS)
    assert chosen(stack, asked("", "red", COLORS), tmp_path).likeliest == wanted
    assert stack.inner is model  # as it was


def test_options_that_a_request_lists_are_chosen_by_their_letters(
    model: LocalModel, tmp_path: Path
) -> None:
    wanted = likeliest(model, (Message("user", LISTED),), ("A", "B", "C"))
    made = asked("", "red", text=LISTED)
    assert chosen(model, made, tmp_path).likeliest == wanted


def test_a_choice_is_made_once(model: LocalModel, tmp_path: Path) -> None:
    def unloaded() -> Any:
        raise AssertionError("loaded again")

    made = asked("", "red", COLORS)
    first = chosen(model, made, tmp_path)
    scorers = [load_scorer("choice_likelihood")]
    assert with_likeliest([made], scorers, unloaded, tmp_path, "x") == [first]
    assert with_likeliest([made], [load_scorer("choice")], unloaded, tmp_path, "x") == [made]


def test_a_model_that_scores_no_texts_has_no_such_score(
    tmp_path: Path,
) -> None:
    class Noted(Silent):
        told: ClassVar[list[str]] = []

        def say(self, message: str) -> None:
            self.told.append(message)

    with shown_by(Noted()):
        found = chosen(ScriptedModel(lambda _: "red"), asked("", "red", COLORS), tmp_path)
    [told] = Noted.told
    assert told.startswith("x: choice_likelihood: ")
    assert load_scorer("choice_likelihood").score([found]) == []


def test_a_prompt_that_leaves_no_room_for_the_options_is_wrong_and_not_left_out(
    model: LocalModel, tmp_path: Path
) -> None:
    request = "Which color? " + "lamp " * model.card.context
    found = chosen(model, asked("", "red", COLORS, request), tmp_path)
    [score] = load_scorer("choice_likelihood").score([found])
    assert (score.value, score.explanation) == (0.0, "no room")
    assert chosen(model, asked("", "red", COLORS, request), tmp_path) == found  # as it was kept


def test_a_model_that_cannot_be_loaded_is_no_model_that_scores_no_texts(tmp_path: Path) -> None:
    def gone() -> Any:
        raise ModelError("the weights are gone")

    scorers = [load_scorer("choice_likelihood")]
    with pytest.raises(ModelError, match="the weights are gone"):
        with_likeliest([asked("", "red", COLORS)], scorers, gone, tmp_path, "x")


def test_no_option_is_asked_for_where_none_is_right(model: LocalModel, tmp_path: Path) -> None:
    assert chosen(model, asked("", "purple", COLORS), tmp_path).likeliest is None
    assert chosen(model, asked("", "B"), tmp_path).likeliest is None  # nothing is listed


def test_an_own_scorer_is_no_chooser_for_having_options_and_is_blamed_for_what_it_raises(
    tmp_path: Path,
) -> None:
    class Own:
        name = "own"
        options: ClassVar[list[str]] = ["fast"]

    made = asked("", "red", COLORS)
    own: Any = Own()
    assert with_likeliest([made], [own], ScriptedModel, tmp_path, "x") == [made]  # type: ignore[arg-type]
    own.likelihood_options = lambda example: 1 / 0
    with pytest.raises(SettingError, match="scorer own failed: ZeroDivisionError"):
        with_likeliest([made], [own], ScriptedModel, tmp_path, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "right", "why"),
    [
        ("red", 1, ""),
        ("C", 1, ""),
        ("The answer is C.", 1, ""),
        ("green", 0, ""),
        ("purple", 0, "names no option"),
        ("I don't know.", 0, "refused"),
    ],
)
def test_what_is_written_is_read_against_the_examples_choices(
    said: str, right: float, why: str
) -> None:
    [score] = load_scorer("choice").score([asked(said, "red", COLORS)])
    assert (score.value, score.explanation) == (right, why)


@pytest.mark.parametrize(
    ("choices", "target", "said", "right"),
    [
        (("Python", "C", "Java"), "C", "B", 1),
        (("Python", "C", "Java"), "C", "C", 1),
        (("Python", "C", "Java"), "C", "Java", 0),
        (("C", "C++", "C#"), "C++", "C++", 1),
        (("C", "C++", "C#"), "C++", "C", 0),
        (("B", "A"), "A", "A", 1),
        (COLORS, "green", "Answer: I think it is A.", 0),
        (COLORS, "green", "Answer: I think. The answer is A", 1),  # I is no option
    ],
)
def test_an_options_own_words_come_before_its_letter(
    choices: tuple[str, ...], target: str, said: str, right: float
) -> None:
    [score] = load_scorer("choice").score([asked(said, target, choices)])
    assert score.value == right


def test_an_answer_that_is_none_of_the_choices_is_refused() -> None:
    row = {"input": "Which?", "choices": ["Red", "-5"]}
    for target in ("the red", "B", "B. -5", "-5"):
        assert example({**row, "output": target}, "1", "f").targets == (target,)
    with pytest.raises(BadRow, match=r'the answer, "purple", is none of them'):
        example({**row, "output": "purple"}, "1", "f")
    assert example({**row, "output": "I do not know", "answerable": False}, "1", "f").choices


def test_choices_are_read_from_rows_and_cells() -> None:
    row = {"input": "Which?", "output": "red"}
    assert example({**row, "choices": ["red", "blue"]}, "1", "f").choices == ("red", "blue")
    assert example({**row, "choices": '["red", "blue"]'}, "1", "f").choices == ("red", "blue")
    assert example(row, "1", "f").choices == ()
    for bad, said in (
        (["red"], "a list of 2 to 26"), ("red", "a list of 2 to 26"),
        (["red", "red"], "two are the same"), (["red", 3], r"choices\[1\]: is 3"),
    ):  # fmt: skip
        with pytest.raises(BadRow, match=said):
            example({**row, "choices": bad}, "1", "f")
