"""What is said of time and memory before a run: how it moves with the work, and when it says no."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.models.speed import Speed
from sartor.techniques import estimate as estimating
from sartor.techniques.estimate import Estimated, estimate
from sartor.techniques.workload import Workload

GIGABYTE = 10**9
SPEED = Speed(
    prompt_tokens_per_second=1000,
    new_tokens_per_second=100,
    training_tokens_per_second=300,
    adapter_tokens_per_second=400,
    resident_bytes=GIGABYTE // 2,
    how="made up",
)
PROMPTED = Workload(
    prompt_tokens=200,
    padded_tokens=200,
    longest_prompt=300,
    shared_tokens=0,
    answer_tokens=20,
    passages=0,
    trains="nothing",
    trainable_parameters=0,
)
TRAINING: dict[str, Any] = {
    "training_tokens": 120_000,
    "watching_tokens": 10_000,
    "tokens_at_once": 4000,
    "watched_at_once": 4000,
}


def base(
    folder: Path, hidden: int = 512, layers: int = 8, parameters: int = 50_000_000
) -> ModelCard:
    """A Llama of which there is only a configuration."""
    from transformers import LlamaConfig

    LlamaConfig(
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        vocab_size=8000,
    ).save_pretrained(folder)
    return ModelCard("made-up", str(folder), "r1", "LlamaForCausalLM", parameters, 2048)


def changed(work: Workload = PROMPTED, **changes: Any) -> Workload:
    return dataclasses.replace(work, **changes)


ADAPTED = changed(trains="adapter", trainable_parameters=500_000, **TRAINING)
FULL = changed(trains="everything", trainable_parameters=50_000_000, **TRAINING)


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return base(tmp_path)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 GB."""
    monkeypatch.setattr(estimating, "memory", lambda: 64 * GIGABYTE)


def estimated(
    work: Workload, card: ModelCard, answers: int = 100, new_tokens: int = 50
) -> Estimated:
    return estimate(work, card, SPEED, answers, new_tokens)


def test_a_prompted_base_costs_its_answers_only(card: ModelCard) -> None:
    found = estimated(PROMPTED, card)
    assert found.seconds_to_customize == 0
    assert found.seconds_per_answer == pytest.approx(200 / 1000 + 20 / 100, rel=0.01)
    assert found.seconds_to_answer == pytest.approx(100 * found.seconds_per_answer)


def test_training_takes_its_tokens_and_looks_at_validation(card: ModelCard) -> None:
    adapted, full = estimated(ADAPTED, card), estimated(FULL, card)
    assert adapted.seconds_to_customize == pytest.approx(120_000 / 400 + 10_000 / 1000)
    assert full.seconds_to_customize == pytest.approx(120_000 / 300 + 10_000 / 1000)
    more = estimated(changed(ADAPTED, training_tokens=240_000), card)
    assert more.seconds_to_customize > 1.9 * adapted.seconds_to_customize


def test_what_prompts_share_is_read_once_and_searching_takes_time(card: ModelCard) -> None:
    plain = estimated(PROMPTED, card).seconds_per_answer
    assert estimated(changed(shared_tokens=150), card).seconds_per_answer < plain - 0.1
    searched = estimated(changed(passages=1000), card)
    assert searched.seconds_per_answer > plain
    assert searched.seconds_to_customize > 0


def test_training_everything_needs_more_memory_than_an_adapter(
    card: ModelCard, there: None
) -> None:
    prompted, adapted, full = (estimated(work, card) for work in (PROMPTED, ADAPTED, FULL))
    assert prompted.peak_memory_bytes < adapted.peak_memory_bytes < full.peak_memory_bytes
    # weights, two copies and two moments in float32: 20 bytes for each of 50 million
    assert full.peak_memory_bytes - prompted.peak_memory_bytes > 0.8 * GIGABYTE
    assert all(one.fits and not one.why for one in (prompted, adapted, full))


def test_longer_prompts_and_answers_and_packs_need_more_memory(card: ModelCard) -> None:
    plain = estimated(PROMPTED, card).peak_memory_bytes
    assert estimated(changed(longest_prompt=450), card).peak_memory_bytes > plain
    assert estimated(PROMPTED, card, new_tokens=200).peak_memory_bytes > plain
    packed = estimated(changed(ADAPTED, tokens_at_once=8000), card).peak_memory_bytes
    assert packed > estimated(ADAPTED, card).peak_memory_bytes


def test_a_smaller_cache_of_sizes_takes_less_memory(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "has_bf16", lambda: True)
    before = estimated(ADAPTED, card).peak_memory_bytes
    for name in estimating.CACHES:
        monkeypatch.setenv(name, "16")
    after = estimated(ADAPTED, card).peak_memory_bytes
    assert (after < before) is (local.device().type == "cpu")


@pytest.mark.parametrize("work", [PROMPTED, ADAPTED, FULL])
def test_an_enormous_base_does_not_fit_and_says_so(
    work: Workload, tmp_path: Path, there: None
) -> None:
    enormous = base(tmp_path, hidden=8192, layers=80, parameters=70_000_000_000)
    if work.trains == "everything":
        work = changed(work, trainable_parameters=enormous.parameters)
    found = estimated(work, enormous)
    assert not found.fits
    assert "this machine has 64.0 GB" in found.why
    advice = {"nothing": "base.", "adapter": "smaller pack_tokens.", "everything": "such as lora."}
    assert "Choose a smaller base" in found.why
    assert found.why.endswith(advice[work.trains])


def test_a_prompt_longer_than_the_context_does_not_fit(card: ModelCard) -> None:
    found = estimated(changed(longest_prompt=5000), card)
    assert not found.fits
    assert "5,000 tokens, but made-up reads at most 2,048" in found.why


def test_a_container_has_no_more_memory_than_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if local.device().type == "cuda":
        pytest.skip("the memory that counts here is the GPU's")
    whole = estimating.memory()
    for said, expected in (("1000000\n", 1_000_000), ("max\n", whole)):
        (tmp_path / "memory.max").write_text(said)
        monkeypatch.setattr(estimating, "LIMITS", (str(tmp_path / "memory.max"),))
        assert estimating.memory() == min(expected, whole)


def test_room_for_an_answer_is_bounded_by_the_context(card: ModelCard, there: None) -> None:
    most = card.context - PROMPTED.longest_prompt
    bounded, whole = (estimate(PROMPTED, card, SPEED, 10, room) for room in (most, 100_000_000))
    assert whole == bounded
    assert whole.fits
