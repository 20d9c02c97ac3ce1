"""Bases that cannot be run are told before a run, and healthy ones never are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tests import tiny_models

from sartor.models import base_card
from sartor.models.runnable import fault


def without_a_weight(weights: dict[str, Any]) -> None:
    del weights["model.layers.1.mlp.up_proj.weight"]


def without_numbers(weights: dict[str, Any]) -> None:
    weights["model.norm.weight"][:] = math.nan


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_a_weight, "1 are missing, such as model.layers.1.mlp.up_proj.weight"),
        (without_numbers, "nothing that it gives for a few tokens is a number"),
    ],
)
def test_weights_that_make_no_model_are_told(
    spoil: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    tiny_models.save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    spoil(weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    card = base_card.describe(str(tmp_path))
    assert said in fault(card, loaded=True)
    assert fault(card, loaded=False) == ""


def test_a_package_that_is_missing_is_told_without_reading_weights(tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    by = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": by}))
    (tmp_path / "model.safetensors").unlink()
    assert "needs a package which is not here: " in fault(card, loaded=False)


def test_weights_that_do_not_fit_are_not_read(tmp_path: Path) -> None:
    card = replace(tiny_models.save(tmp_path), parameters=10**15)
    (tmp_path / "model.safetensors").unlink()
    assert fault(card, loaded=True) == ""


@pytest.mark.parametrize("architecture", sorted(tiny_models.ARCHITECTURES.keys() - {"mamba"}))
def test_a_healthy_base_has_no_fault(architecture: str, tmp_path: Path) -> None:
    assert fault(tiny_models.save(tmp_path, architecture), loaded=True) == ""
