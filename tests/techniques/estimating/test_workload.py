"""How much work a technique is counted to be, against what it then does."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from tests import tiny_models
from tests.techniques.recorder import Recorder, recorded

from sartor.data.records import Document, Example, Message, TrainingData
from sartor.models import chat
from sartor.models.language_model import ModelCard
from sartor.techniques.estimating.workload import Workload, workload
from sartor.techniques.few_shot import FewShot
from sartor.techniques.full import FullFineTuning
from sartor.techniques.lora import LoRA
from sartor.techniques.p_tuning import PTuning
from sartor.techniques.prefix_tuning import PrefixTuning
from sartor.techniques.prompt_tuning import PromptTuning
from sartor.techniques.rag import Rag
from sartor.techniques.zero_shot import ZeroShot

THINGS = [f"lamp {number}" for number in range(24)]
DOCUMENTS = tuple(
    Document(thing, f"The {thing} stands in hall {thing} and has a green shade.", thing)
    for thing in THINGS
)
QUICK: dict[str, Any] = {"learning_rates": (1e-3,), "batch_size": 4, "patience": 100}


def examples(prefix: str) -> tuple[Example, ...]:
    return tuple(
        Example(
            f"{prefix} {thing}",
            (Message("user", f"What color is the {thing}?"),),
            ("green",),
            evidence=(thing,),
        )
        for thing in THINGS
    )


DATA = TrainingData(DOCUMENTS, examples("train"), examples("held"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """With a context as long as passages and examples need."""
    card = tiny_models.save(tmp_path_factory.mktemp("base"))
    return replace(card, context=2048)


def counted(technique: Any, base: ModelCard, data: TrainingData = DATA) -> Workload:
    return workload(technique, base, data, tiny_models.tokenizer())


def test_prompts_only_read_and_trained_techniques_also_train(base: ModelCard) -> None:
    plain = counted(ZeroShot(), base)
    assert (plain.trains, plain.training_tokens, plain.trainable_parameters) == ("nothing", 0, 0)
    assert counted(LoRA(), base).trains == "adapter"
    assert counted(PTuning(), base).trains == "adapter"
    full = counted(FullFineTuning(), base)
    assert (full.trains, full.trainable_parameters) == ("everything", base.parameters)


def test_passages_and_examples_and_virtual_tokens_make_prompts_longer(base: ModelCard) -> None:
    plain = counted(ZeroShot(), base).prompt_tokens
    assert counted(Rag(top_k=1), base).prompt_tokens > plain
    assert counted(Rag(top_k=4), base).prompt_tokens > counted(Rag(top_k=2), base).prompt_tokens
    assert counted(FewShot(examples=2), base).prompt_tokens > plain
    assert counted(PTuning(virtual_tokens=30), base).prompt_tokens == plain + 30
    both = counted(Rag(inner=FewShot(examples=2)), base).prompt_tokens
    assert both > counted(Rag(), base).prompt_tokens


@pytest.mark.parametrize("technique", [Rag(inner=Recorder()), FewShot(inner=Recorder())])
def test_prompts_are_about_as_long_as_they_turn_out(
    technique: Any, base: ModelCard, tmp_path: Path
) -> None:
    technique.fit(base, DATA, tmp_path)
    real = [chat.encode(tiny_models.tokenizer(), e.input) for e in recorded(tmp_path, "train")]
    assert counted(technique, base).prompt_tokens == pytest.approx(fmean(map(len, real)), rel=0.1)


def test_what_would_not_fit_the_context_is_left_out(base: ModelCard) -> None:
    short = replace(base, context=256)
    many = counted(Rag(top_k=20), short)
    assert counted(ZeroShot(), short).prompt_tokens < many.prompt_tokens
    assert many.longest_prompt < 256


@pytest.mark.parametrize(
    "technique",
    [
        LoRA(epochs=2, **QUICK),
        PTuning(epochs=1, **QUICK),
        LoRA(max_tokens=700, **QUICK),
        LoRA(epochs=1, upper_layers=1, **QUICK),
        LoRA(epochs=1, ranks={"v_proj": 3}, **QUICK),
        LoRA(epochs=1, target_modules=("q_proj", "v_proj"), **QUICK),
        PromptTuning(epochs=1, **QUICK),
        PrefixTuning(epochs=1, **QUICK),
    ],
)
def test_training_does_the_tokens_that_were_counted(
    technique: Any, base: ModelCard, tmp_path: Path
) -> None:
    made = technique.fit(base, DATA, tmp_path)
    work = counted(technique, base)
    [told] = [note for note in made.notes if "tokens" in note]
    curve = json.loads((tmp_path / "curve.json").read_text())
    assert work.training_tokens == pytest.approx(curve["tokens"], rel=0.15), told
    assert work.trainable_parameters == made.trainable_parameters


def test_more_epochs_and_learning_rates_are_more_tokens(base: ModelCard) -> None:
    once = counted(LoRA(epochs=1, learning_rates=(1e-3,)), base)
    assert counted(LoRA(epochs=3, learning_rates=(1e-3,)), base).training_tokens == pytest.approx(
        3 * once.training_tokens, rel=0.1
    )
    searched = counted(LoRA(epochs=1, learning_rates=(1e-3, 1e-4)), base)
    assert searched.training_tokens > once.training_tokens
    assert searched.looks > once.looks
    capped = counted(LoRA(epochs=50, max_tokens=1000), base)
    assert capped.training_tokens < counted(LoRA(epochs=50), base).training_tokens


def test_what_is_inside_is_trained_on_what_is_put_before_it(base: ModelCard) -> None:
    lora = LoRA(epochs=1, learning_rates=(1e-3,))
    alone, inside = counted(lora, base), counted(Rag(inner=lora), base)
    assert inside.trains == "adapter"
    assert inside.trainable_parameters == alone.trainable_parameters
    assert inside.training_tokens > 1.5 * alone.training_tokens
    assert inside.passages == len(DOCUMENTS)
    assert inside.searches == len(DATA.train) + len(DATA.validation)
    assert counted(Rag(), base).searches == 0


def test_ones_own_technique_counts_as_trained_on_nothing(base: ModelCard) -> None:
    @dataclass(frozen=True)
    class Own:
        name: str = "own"

    work = counted(Own(), base)
    assert work.trains == "nothing"
    assert work.prompt_tokens < counted(ZeroShot(), base).prompt_tokens  # it puts nothing before


def test_the_same_data_are_counted_the_same(base: ModelCard) -> None:
    assert counted(Rag(inner=FewShot()), base) == counted(Rag(inner=FewShot()), base)


def test_what_several_threads_put_through_side_by_side_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from sartor.techniques.estimating.division import at_once, meant

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert at_once(3072, 256, 8, divided=True) == 3072
    assert at_once(3072, 2048, 8, divided=True) == 2048
    assert at_once(3072, 2048, 8, divided=False) == 1024
    assert at_once(3072, 2048, 3, divided=True) == 1024  # too few examples to be divided
    with meant(2):  # torchrun gives each process one thread
        assert at_once(3072, 2048, 8, divided=True) == 1024
