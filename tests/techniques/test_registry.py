"""Techniques by name: combined, given settings, and refused with a hint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from sartor.errors import SettingError
from sartor.settings import settings_of
from sartor.techniques.few_shot import FewShot
from sartor.techniques.full import FullFineTuning
from sartor.techniques.lora import LoRA
from sartor.techniques.p_tuning import PTuning
from sartor.techniques.rag import Rag
from sartor.techniques.registry import TECHNIQUES, build
from sartor.techniques.zero_shot import ZeroShot


class NoDataclass:
    name = "plain"

    def fit(self) -> None: ...

    def load(self) -> None: ...


@dataclass
class Demanding(NoDataclass):
    wanted: int


def test_every_name_builds_its_technique() -> None:
    assert TECHNIQUES
    for name in TECHNIQUES:
        assert build(name).name == name


def test_a_plus_puts_one_inside_the_other() -> None:
    assert build("rag+lora") == Rag(inner=LoRA())
    assert build(" rag + few-shot + lora ") == Rag(inner=FewShot(inner=LoRA()))


def test_settings_are_of_the_outermost_and_defaults_of_all_that_bear_the_name() -> None:
    defaults = {"rag": {"top_k": 7, "passage_characters": 900}, "lora": {"rank": 4}}
    assert build("rag+lora", {"top_k": 2}, defaults) == Rag(
        inner=LoRA(rank=4), top_k=2, passage_characters=900
    )
    assert build("rag+lora", {"inner": {"rank": 8}}, defaults).inner.rank == 8  # type: ignore[attr-defined]


def test_a_technique_of_ones_own_is_named_by_its_place() -> None:
    assert build("sartor.techniques.lora:LoRA", {"rank": 3}) == LoRA(rank=3)


def test_settings_are_shown_with_those_inside() -> None:
    shown = settings_of(Rag(inner=LoRA(rank=4), top_k=2))
    assert (shown["technique"], shown["top_k"]) == ("rag", 2)
    assert (shown["inner"]["technique"], shown["inner"]["rank"]) == ("lora", 4)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("lorra", {}, "unknown technique 'lorra'; did you mean 'lora'?"),
        ("rag+zeroshot", {}, "unknown technique 'zeroshot'; did you mean 'zero-shot'?"),
        ("quantum", {}, "unknown technique 'quantum'; known: zero-shot, few-shot, rag"),
        ("lora", {"learning_rates": 0.1}, "learning_rates is 0.1: Input should be a list in"),
        ("tuning", {}, "unknown technique 'tuning'; did you mean 'p-tuning'?"),
        ("lora", {"rnk": 8}, "lora: unknown setting 'rnk'; did you mean 'rank'?"),
        ("rag+lora", {"rank": 8}, "rag: unknown setting 'rank'; known: inner, passage_characters"),
        ("rag+lora", {"inner": {"rnk": 8}}, "lora: unknown setting 'rnk'; did you mean 'rank'?"),
        ("lora", {"rank": "wide"}, "lora: rank is 'wide': Input should be a valid integer"),
        ("lora", {"rank": True}, "lora: rank is true; expected a number: write its digits"),
        ("lora", {"learning_rates": "fast"}, "lora: learning_rates is 'fast'"),
        ("few-shot", {"selection": "odd"}, "few-shot: selection is 'odd'"),
        ("lora+rag", {}, "'lora+rag': lora takes no technique inside it. Put the one that changes"),
        ("nowhere.at_all:Name", {}, "'nowhere.at_all:Name' cannot be imported: No module named"),
        ("sartor.techniques.lora:Lora", {}, "Expected 'package.module:Class'"),
        ("", {}, "technique '': a part is empty"),
        ("rag+", {}, "technique 'rag+': a part is empty. Name one on each side of every '+'"),
        ("rag++lora", {}, "technique 'rag++lora': a part is empty"),
        ("rag+few-shot+rag", {}, "rag is in it 2 times"),
        ("json:JSONDecoder", {}, "technique 'json:JSONDecoder' has no `name`. A technique is a"),
        ("json:loads", {}, "technique 'json:loads' has no `name`"),
        (":x", {}, "technique ':x' cannot be imported: Empty module name. Expected"),
        (".x:y", {}, "technique '.x:y' cannot be imported"),
        ("tests.techniques.test_registry:NoDataclass", {}, "is no dataclass"),
        ("tests.techniques.test_registry:Demanding", {}, "it cannot be made with the settings []"),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(
    name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError) as caught:
        build(name, settings)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("technique", "settings", "said"),
    [
        (LoRA, {"rank": 0}, "lora: rank is 0; it must be 1 or more (8 to 64 is usual)"),
        (LoRA, {"dropout": 1.0}, "lora: dropout is 1.0; it lies in [0, 1): give 0 for none"),
        (LoRA, {"batch_size": 0}, "lora: batch_size is 0; it must be above 0"),
        (FullFineTuning, {"learning_rates": ()}, "full: learning_rates is []; give one or more"),
        (PTuning, {"virtual_tokens": 0}, "p-tuning: virtual_tokens is 0; it must be 1 or more"),
        (PTuning, {"encoder_hidden": 0}, "p-tuning: encoder_hidden is 0; it must be 1 or more"),
        (FewShot, {"examples": 0}, "few-shot: examples is 0; it must be 1 or more"),
        (Rag, {"top_k": 0}, "rag: top_k is 0; it must be 1 or more (3 to 8 is usual)"),
        (Rag, {"passage_characters": 10}, "rag: passage_characters is 10; it must be 100 or more"),
    ],
)
def test_nonsense_is_refused_before_any_work(
    technique: type, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError) as caught:
        technique(**settings)
    assert said in str(caught.value)


def test_techniques_compare_and_change_as_records_do() -> None:
    assert replace(LoRA(), rank=4) == LoRA(rank=4) != LoRA()
    assert ZeroShot() == ZeroShot()
