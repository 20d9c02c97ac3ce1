"""The probe of this machine's speed: of any architecture, in moments, without weights."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from tests import tiny_models

from sartor.errors import ModelError
from sartor.models import speed
from sartor.models.language_model import ModelCard
from sartor.models.outline import outline


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "TIMED", 0.02)


def rates(found: speed.Speed) -> list[float]:
    named = [field.name for field in fields(found) if field.name.endswith("per_second")]
    assert len(named) == 4
    return [getattr(found, name) for name in named]


def larger(folder: Path, **changes: int) -> ModelCard:
    """A Llama of which there is only a configuration; its card says how large it would be."""
    from transformers import LlamaConfig

    config = LlamaConfig(**{**tiny_models.SHAPE, "vocab_size": 400, **changes})
    config.save_pretrained(folder)
    card = ModelCard("large", str(folder), "r1", "LlamaForCausalLM", 0, tiny_models.CONTEXT)
    shape = outline(card)
    maps = sum(config.hidden_size * (width - config.hidden_size) for _, width in shape.linears)
    return replace(card, parameters=maps + 2 * 400 * config.hidden_size)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "gpt_oss"])
def test_architectures_of_many_kinds_are_timed(architecture: str, tmp_path: Path) -> None:
    found = speed.measure(tiny_models.save(tmp_path, architecture))
    assert found.how == "timed on 1 and 2 of 2 layers"
    assert min(rates(found)) > 0
    assert found.resident_bytes > 50 << 20  # torch alone takes more


def test_one_that_refuses_to_be_timed_is_counted_and_says_so(tmp_path: Path) -> None:
    found = speed.measure(tiny_models.save(tmp_path, "mamba"))
    assert found.how.startswith("counted from its parameters at ")
    assert "not timed: " in found.how
    assert min(rates(found)) > 0


def test_layers_that_differ_are_not_taken_for_copies_of_the_first(tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path)
    found = speed.measure(replace(card, parameters=3 * card.parameters))
    assert found.how.endswith("not timed: its layers differ")


def test_more_layers_and_wider_ones_are_slower(tmp_path: Path) -> None:
    small = larger(tmp_path / "small")
    deep = larger(tmp_path / "deep", num_hidden_layers=40)
    wide = larger(tmp_path / "wide", hidden_size=768, intermediate_size=2048)
    at_small = rates(speed.measure(small))
    for other in (deep, wide):
        found = speed.measure(other)
        assert found.how.startswith("timed"), found.how
        for faster, slower in zip(at_small, rates(found), strict=True):
            assert slower < faster / 2


def test_a_layer_too_large_to_try_is_counted_in_moments(tmp_path: Path) -> None:
    huge = larger(tmp_path, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80)
    found = speed.measure(huge)
    assert "a layer has" in found.how
    assert found.training_tokens_per_second < found.prompt_tokens_per_second


def test_a_folder_without_a_configuration_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"no": "model"}))
    card = ModelCard("odd", str(tmp_path), "r1", "", 10, 256)
    with pytest.raises(ModelError, match="'odd': nothing can be estimated"):
        speed.measure(card)
