"""Which examples are shown, to whom, and how many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from tests import tiny_models
from tests.techniques.recorder import Recorder, recorded

from sartor.data.records import Conversation, Example, Message, TrainingData
from sartor.errors import PromptTooLongError, TrainingError
from sartor.models.language_model import ModelCard, Sampling
from sartor.techniques.few_shot import FewShot, Shown
from sartor.techniques.wrapping import Fits
from sartor.techniques.zero_shot import ZeroShot, with_system

ABOUT = ("lamps", "chairs", "rugs", "clocks", "vases", "shelves")


def ask(request: str) -> Conversation:
    return (Message("user", request),)


def example(id: str, request: str, answer: str, group: str = "", tag: str = "") -> Example:
    return Example(id, ask(request), (answer,), group=group, tags=(tag,) if tag else ())


TRAIN = tuple(
    example(f"{about}{i}", f"Do you sell {color} {about}?", f"{about} {i}", group=f"g{i}-{about}")
    for about in ABOUT
    for i, color in enumerate(("red", "blue"))
)
DATA = TrainingData((), TRAIN, (example("held", "Do you sell green lamps?", "yes"),))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


def answers(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation if message.role == "assistant"]


def seen(
    technique: FewShot, base: ModelCard, data: TrainingData, folder: Path
) -> dict[str, list[str]]:
    """The answers that each training example is shown."""
    technique.fit(base, data, folder)
    return {e.id: answers(e.input) for e in recorded(folder, "train")}


@pytest.mark.parametrize("selection", ["similar", "fixed"])
def test_no_example_is_shown_to_itself(selection: Any, base: ModelCard, tmp_path: Path) -> None:
    technique = FewShot(inner=Recorder(), examples=3, selection=selection)
    shown = seen(technique, base, DATA, tmp_path)
    assert set(shown) == {e.id for e in TRAIN}
    assert {len(given) for given in shown.values()} == {3}
    assert [e.id for e in TRAIN if e.targets[0] in shown[e.id]] == []


def test_nor_are_others_of_its_group(base: ModelCard, tmp_path: Path) -> None:
    paired = tuple(example(e.id, e.input[0].content, e.targets[0], e.id[:-1]) for e in TRAIN)
    shown = seen(
        FewShot(inner=Recorder(), examples=3), base, TrainingData((), paired, ()), tmp_path
    )
    assert {len(given) for given in shown.values()} == {3}
    assert [id for id, given in shown.items() if any(id[:-1] in answer for answer in given)] == []


def test_validation_is_shown_training_examples_and_never_the_reverse(
    base: ModelCard, tmp_path: Path
) -> None:
    shown = seen(FewShot(inner=Recorder(), examples=11), base, DATA, tmp_path)
    assert all("yes" not in given for given in shown.values())
    [held] = recorded(tmp_path, "validation")
    assert set(answers(held.input)) <= {e.targets[0] for e in TRAIN}


def shots(technique: FewShot, request: Conversation, base: ModelCard, folder: Path) -> list[str]:
    model = technique.load(technique.fit(base, DATA, folder))
    [completion] = model.generate([request], Sampling())
    said = [line.partition(": ") for line in completion.text.split("\n")]
    return [text for role, _, text in said if role == "assistant"]


def test_the_likest_are_shown_the_likest_last(base: ModelCard, tmp_path: Path) -> None:
    technique = FewShot(inner=Recorder(), examples=2)
    found = shots(technique, ask("Do you sell blue rugs?"), base, tmp_path)
    assert found == ["rugs 0", "rugs 1"]


def test_fixed_ones_are_the_same_for_all_and_of_every_kind(base: ModelCard, tmp_path: Path) -> None:
    tagged = tuple(example(e.id, e.input[0].content, e.targets[0], tag=e.id[:-1]) for e in TRAIN)
    technique = FewShot(inner=Recorder(), examples=4, selection="fixed")
    made = technique.fit(base, TrainingData((), tagged, ()), tmp_path)
    texts = {
        c.text.partition("user: hello")[0]
        for c in technique.load(made).generate([ask("hello rugs"), ask("hello vases")], Sampling())
    }
    assert len(texts) == 1
    assert [about for about in ABOUT if about in str(texts)] == list(ABOUT[:4])


def test_a_system_prompt_stays_first_and_those_of_examples_are_not_repeated(
    base: ModelCard, tmp_path: Path
) -> None:
    told = tuple(Example(e.id, with_system(e.input, "Be brief."), e.targets) for e in TRAIN)
    technique = FewShot(inner=Recorder(), examples=2)
    made = technique.fit(base, TrainingData((), told, ()), tmp_path)
    [completion] = technique.load(made).generate(
        [with_system(ask("Do you sell rugs?"), "Be kind.")], Sampling()
    )
    roles = [line.partition(":")[0] for line in completion.text.split("\n")]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "Be brief." not in completion.text


def test_long_examples_are_not_shown_and_none_short_enough_is_an_error(
    base: ModelCard, tmp_path: Path
) -> None:
    long = example("long", "Do you sell red rugs? " * 30, "rugs 9")
    data = TrainingData((), (*TRAIN, long), ())
    made = FewShot(inner=Recorder(), examples=9).fit(base, data, tmp_path)
    assert made.notes[0] == f"{len(TRAIN)} examples to choose from"
    with pytest.raises(TrainingError, match="none of 13 training examples is shorter than 10"):
        FewShot(max_characters=10).fit(base, data, tmp_path)


class Counting:
    """A model whose tokens are words."""

    def __init__(self, context: int) -> None:
        self.card = ModelCard("counting", "", "", "", 0, context)

    def prompt_tokens(self, conversation: Conversation) -> int:
        return sum(len(message.content.split()) for message in conversation)


@pytest.mark.parametrize(
    ("words", "answer", "fits"),
    [(60, 40, True), (61, 40, False), (50, 999, True), (51, 999, False)],
)
def test_a_prompt_fits_when_an_answer_does_but_no_answer_takes_over_half(
    words: int, answer: int, fits: bool
) -> None:
    assert Fits(Counting(100))(ask("word " * words), answer) == fits
    assert Fits(object())(ask("word " * words), math.inf)  # type: ignore[arg-type]


def tokens(base: ModelCard, conversations: Sequence[Conversation]) -> list[int]:
    model = ZeroShot(system="").load(ZeroShot().fit(base, DATA, Path()))
    return [model.prompt_tokens(c) for c in conversations]  # type: ignore[attr-defined]


def test_fewer_are_shown_where_more_would_not_fit_in_training_as_in_service(
    base: ModelCard, tmp_path: Path
) -> None:
    technique = FewShot(inner=Recorder(), examples=12)
    technique.fit(base, DATA, tmp_path / "trained")
    inputs = [e.input for e in recorded(tmp_path / "trained", "train")]
    assert {len(answers(one)) for one in inputs} < set(range(1, 11))
    assert max(tokens(base, inputs)) <= tiny_models.CONTEXT // 2
    bare = FewShot(examples=12)
    model = bare.load(bare.fit(base, DATA, tmp_path / "served"))
    [completion] = model.generate([ask("Do you sell lamps?")], Sampling(max_new_tokens=128))
    assert 30 < completion.prompt_tokens <= tiny_models.CONTEXT // 2


def test_a_request_that_is_too_long_by_itself_is_not_tried_with_fewer_examples(
    base: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    technique = FewShot(examples=2)
    model = technique.load(technique.fit(base, DATA, tmp_path))
    assert isinstance(model, Shown)
    read = Mock(wraps=model.inner.prompt_tokens)
    monkeypatch.setattr(model.inner, "prompt_tokens", read)
    with pytest.raises(PromptTooLongError, match="reads at most 256"):
        model.generate([ask("lamps " * 300)], Sampling())
    assert read.call_count == 1


def test_time_inside_is_counted_once_and_not_spent_again(base: ModelCard, tmp_path: Path) -> None:
    technique = FewShot(inner=Recorder(), examples=2)
    first = technique.fit(base, DATA, tmp_path)
    again = technique.fit(base, DATA, tmp_path)
    assert 2 < first.seconds < 60
    assert 2 < again.seconds < 60
    assert first.digest == again.digest


def test_other_data_in_the_same_folder_is_fitted_anew(base: ModelCard, tmp_path: Path) -> None:
    technique = FewShot(inner=Recorder(), examples=2)
    first = technique.fit(base, DATA, tmp_path)
    other = technique.fit(base, TrainingData((), TRAIN[:5], ()), tmp_path)
    assert len(recorded(tmp_path, "train")) == 5
    assert other.digest != first.digest
