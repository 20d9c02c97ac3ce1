"""A candidate made of adapters that were trained before is made again when these are others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny_models
from tests.training.test_loop import ALIKE

from sartor import crossing
from sartor.models.language_model import ModelCard
from sartor.project import Candidate
from sartor.techniques.lora import LoRA
from sartor.trial import Training, Trial
from sartor.workspace import Workspace


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    LoRA(rank=2, learning_rates=(1e-2,), epochs=1.0, looks=1).fit(base, ALIKE, folder)
    return folder


@pytest.mark.parametrize(
    ("technique", "key"), [("merge", "adapters"), ("stack", "on"), ("rag+merge+lora", "adapters")]
)
def test_an_adapter_trained_anew_in_its_folder_asks_for_another_customization(
    technique: str, key: str, base: ModelCard, adapter: Path, tmp_path: Path
) -> None:
    there = tmp_path / "adapter"
    shutil.copytree(adapter, there)
    given = {key: [str(there)] if key == "adapters" else str(there)}
    defaults = {technique.removeprefix("rag+").removesuffix("+lora"): given}
    own = Candidate(name="made", technique=technique)
    trial = Trial.of(crossing.Crossed(own, base.path, "made", chosen=False), defaults, 0)
    training, workspace = Training.of(ALIKE), Workspace(tmp_path)
    before = trial.folder(base, training, workspace)
    assert trial.folder(base, training, workspace) == before
    file = there / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + torch.tensor(0.01)}, file, {"format": "pt"})
    assert trial.folder(base, training, workspace) != before
