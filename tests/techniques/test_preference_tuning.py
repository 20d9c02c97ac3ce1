"""DPO, ORPO and KTO: what they change in a model, what they start from, and when they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import ALIKE, THINGS, Stopping, examples

from sartor import progress
from sartor.data.records import Example, Message, TrainingData
from sartor.errors import DataError, SettingError
from sartor.models.language_model import ModelCard, Sampling
from sartor.techniques.registry import build, spelled_out
from sartor.techniques.trained import with_instruction
from sartor.training.log_chances import answer_log_chances
from sartor.training.packing import encode

QUICK: dict[str, Any] = {"learning_rates": (4e-3,), "epochs": 3, "batch_size": 4, "looks": 2}
WRONG = "dark red"


def judged(part: tuple[Example, ...]) -> tuple[Example, ...]:
    return tuple(replace(example, rejected=(WRONG,)) for example in part)


JUDGED = TrainingData((), judged(ALIKE.train), judged(ALIKE.validation))
DISLIKED = TrainingData(
    (), ALIKE.train, ALIKE.validation,
    tuple(
        Example(f"d{i}", (Message("user", f"Who made the {thing}?"),), (), rejected=(WRONG,))
        for i, thing in enumerate(THINGS)
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


def made(name: str, **settings: Any) -> Any:
    inside = spelled_out(name)[-1]
    return build(name, {"learning_rates": (4e-3,), **settings}, {inside: QUICK})


def chance(model: Any, system: str, answer: str) -> float:
    """Log-probability of an answer, over all requests of the validation part."""
    held = tuple(replace(example, targets=(answer,)) for example in examples("held", answer))
    told = with_instruction(TrainingData((), held, held), system).validation
    encoded = encode(tiny_models.tokenizer(), told, tiny_models.CONTEXT)
    with torch.no_grad():
        found = answer_log_chances(model.inner.network, encoded, model.inner.virtual)
    return float(found.mean())


@pytest.mark.parametrize("name", ["dpo", "orpo", "kto", "dpo+full", "kto+p-tuning"])
def test_rejected_answers_become_rarer_beside_right_ones(
    name: str, base: ModelCard, tmp_path: Path
) -> None:
    technique = made(name)
    plain = technique.inner.load(technique.inner.fit(base, JUDGED, tmp_path / "plain"))
    model = technique.load(technique.fit(base, JUDGED, tmp_path / "judged"))
    system = technique.inner.system
    before = chance(plain, system, "green") - chance(plain, system, WRONG)
    after = chance(model, system, "green") - chance(model, system, WRONG)
    assert after > before + 0.5


def test_a_thumb_down_alone_is_enough_for_kto(base: ModelCard, tmp_path: Path) -> None:
    technique = made("kto")
    plain = technique.inner.load(technique.inner.fit(base, DISLIKED, tmp_path / "plain"))
    model = technique.load(technique.fit(base, DISLIKED, tmp_path / "judged"))
    system = technique.inner.system
    assert chance(model, system, WRONG) < chance(plain, system, WRONG) - 0.5


def test_right_answers_are_trained_on_first_unless_that_is_declined(
    base: ModelCard, tmp_path: Path
) -> None:
    system = made("dpo").inner.system
    chances = {}
    for supervised in (True, False):
        technique = made("dpo", supervised=supervised, epochs=0.3)
        model = technique.load(technique.fit(base, JUDGED, tmp_path / str(supervised)))
        chances[supervised] = chance(model, system, "green")
    assert chances[True] > chances[False] + 1


def test_the_state_of_both_stages_is_gone_at_the_end(base: ModelCard, tmp_path: Path) -> None:
    made("dpo").fit(base, JUDGED, tmp_path)
    left = [path for path in tmp_path.rglob("*") if path.name.startswith("training")]
    assert left == []
    assert not (tmp_path / "inner" / "answers").exists()


def test_another_beta_in_the_same_folder_is_trained_anew(base: ModelCard, tmp_path: Path) -> None:
    first = made("dpo").fit(base, JUDGED, tmp_path)
    other = made("dpo", beta=0.5).fit(base, JUDGED, tmp_path)
    elsewhere = made("dpo", beta=0.5).fit(base, JUDGED, tmp_path / "elsewhere")
    assert other.digest == elsewhere.digest != first.digest


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("dpo", "both a right answer and a rejected one"), ("kto", "an answer with a thumb down")],
)
def test_without_judgements_it_is_refused_before_anything_is_made(
    name: str, wanted: str, base: ModelCard, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"{name}: none of 8 training examples has {wanted}"):
        made(name).fit(base, ALIKE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pairs_need_a_right_answer(base: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dpo: none of 8 training examples"):
        made("dpo").fit(base, DISLIKED, tmp_path)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("dpo+zero-shot", {}, "zero-shot inside it has no weights"),
        ("dpo+rag", {}, r"goes before: 'rag\+dpo\+lora'"),
        ("dpo", {"beta": 0}, "beta is 0"),
        ("dpo", {"smoothing": 0.5}, "smoothing is 0.5"),
        ("kto", {"epochs": 0}, "epochs is 0"),
        ("dpo", {"learning_rates": ()}, r"learning_rates is \[\]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        build(name, settings)


def test_the_name_of_a_wrapper_spells_out_what_it_trains() -> None:
    assert spelled_out("dpo") == ("dpo", "lora")
    assert spelled_out("rag+kto") == ("rag", "kto", "lora")
    assert spelled_out("dpo+full") == ("dpo", "full")
    assert spelled_out("rag") == ("rag",)
    assert build("dpo", defaults={"lora": {"rank": 3}}).inner.rank == 3  # type: ignore[attr-defined]


def test_the_served_model_answers(base: ModelCard, tmp_path: Path) -> None:
    technique = made("orpo")
    model = technique.load(technique.fit(base, JUDGED, tmp_path))
    [answer] = model.generate([JUDGED.train[0].input], Sampling(max_new_tokens=4))
    assert answer.new_tokens > 0


def test_kto_with_dropout_that_was_stopped_ends_the_same(base: ModelCard, tmp_path: Path) -> None:
    """How far the model has moved is measured with dropout on: that draws the same again too."""
    quick = {**QUICK, "dropout": 0.3, "looks": 6}
    technique = build("kto", {"learning_rates": (1e-2,), "supervised": False}, {"lora": quick})
    liked = replace(JUDGED, train=(*JUDGED.train[:1], *ALIKE.train[1:]))  # so it moves upwards
    technique.fit(base, liked, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(5)):
        technique.fit(base, liked, tmp_path / "stopped")
    technique.fit(base, liked, tmp_path / "stopped")
    whole, stopped = (tmp_path / name / "inner" / "curve.json" for name in ("whole", "stopped"))
    assert stopped.read_text() == whole.read_text()
