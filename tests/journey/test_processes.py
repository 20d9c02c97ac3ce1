"""Several processes, as torchrun starts them: they train together, and one does all the rest."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests import tiny_models
from tests.journey.small_shop import CONFIG, write
from tests.journey.together import BROKEN, TRAININGS, Watched, fit
from tests.launched import free_port, started

from sartor import journey

TOGETHER = CONFIG.replace('["zero-shot", "rag", "lora"]', '["zero-shot", "lora"]')


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A base, the folder that two processes have left of all trainings on it, and what was said."""
    folder = tmp_path_factory.mktemp("processes")
    base, made, port = tiny_models.save(folder / "base").path, folder / "together", free_port()
    words = ("-m", "tests.journey.together", base, str(made))
    both = [started(rank, port, *words) for rank in range(2)]
    try:
        said = [process.communicate(timeout=300) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], said
    return Path(base), made, said[0][0]


def values(folder: Path) -> dict[str, torch.Tensor]:
    """What a technique has kept of its training, wherever in its folder that is."""
    [file] = folder.rglob("*model.safetensors")
    return {name: value.float() for name, value in load_file(file).items()}


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_what_one_trains(
    fitted: tuple[Path, Path, str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, folder, _ = fitted
    Watched().put(monkeypatch.setattr)
    fit(name, str(base), tmp_path)
    alone, together = values(tmp_path / name), values(folder / name)
    assert alone.keys() == together.keys()
    first = load_file(base / "model.safetensors")
    began = {n: first.get(n, torch.zeros(())).float() for n in alone}
    moved = math.hypot(*(float((alone[n] - began[n]).norm()) for n in alone))
    apart = math.hypot(*(float((alone[n] - together[n]).norm()) for n in alone))
    assert moved > 0
    assert apart / moved < 1e-3
    one, two = (curve(place / name) for place in (tmp_path, folder))
    assert one["steps"] == two["steps"]
    assert one["learning_rate"] == two["learning_rate"]
    assert one["tokens"] == two["tokens"]
    assert one["curve"] == [pytest.approx(row, rel=1e-4) for row in two["curve"]]


def curve(folder: Path) -> dict[str, Any]:
    [file] = folder.rglob("curve.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_gradients_are_divided_whatever_the_objective(fitted: tuple[Path, Path, str]) -> None:
    _, folder, _ = fitted
    one, two = (told["tokens"] for told in put_through(folder))
    assert one.keys() == two.keys() == {"Answers", "Corpus", "DPO", "KTO", "ORPO"}
    for objective, tokens in one.items():
        assert 0.3 < tokens / (tokens + two[objective]) < 0.7, objective


def test_of_divided_weights_each_process_holds_half(fitted: tuple[Path, Path, str]) -> None:
    _, folder, _ = fitted
    one, two = (told["values"] for told in put_through(folder))
    assert one["all"] == two["all"]
    assert one["here"] + two["here"] == one["all"]
    assert 0.4 < one["here"] / one["all"] < 0.6


def put_through(folder: Path) -> list[dict[str, dict[str, int]]]:
    """What each process has told at its end."""
    return [json.loads((folder / f"put-through-{rank}.json").read_text()) for rank in (0, 1)]


def test_the_same_batch_is_written_down_by_two_as_by_one(
    fitted: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, folder, said = fitted
    Watched().put(monkeypatch.setattr)
    fit("troubled", str(base), tmp_path)
    rows = [
        [json.loads(line)["id"] for line in file.read_text().split("\n") if line]
        for place in (tmp_path, folder)
        for file in (place / "troubled").glob("bad-batch-*.jsonl")
    ]
    assert len(rows) == 2
    assert f"troubled {BROKEN}" in rows[0] == rows[1]
    assert "out of memory" in said


@pytest.mark.slow
def test_a_whole_run_by_torchrun_ends_as_one_process_does(tmp_path: Path) -> None:
    """One process prints, writes and decides; what the helpers need leaves nothing behind."""
    alone = write(tmp_path / "alone")
    base = tiny_models.save(tmp_path / "base").path
    model = f'[model]\nbase = "{base}"\n[customize]'
    (alone / "sartor.toml").write_text(TOGETHER.replace("[customize]", model))
    together = alone.with_name("together")
    shutil.copytree(alone, together)
    journey.run(journey.Project.open(alone))
    words = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port())
    done = subprocess.run(
        [sys.executable, *words, "-m", "sartor", "run", str(together), "--json"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["winner"]  # and nothing else is printed

    def listed(shop: Path) -> set[str]:
        paths = (path.relative_to(shop).as_posix() for path in shop.rglob("*"))
        return {re.sub(r"-[0-9a-f]{12}", "", path) for path in paths}

    assert listed(alone) == listed(together)


DYING = """
import os, signal, sys
from pathlib import Path
from sartor.data.records import TrainingData
from sartor.models import base_card
from sartor.techniques import following
from sartor.techniques.lora import LoRA
from sartor.training.passes import Passes
from tests.training.test_loop import ALIKE

whole, steps = Passes.gradients, []

def dying(self, *given):
    steps.append(1)
    if len(steps) == 3 and os.environ["RANK"] == os.environ["DIES"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, *given)

Passes.gradients = dying
if following.follows():
    following.follow()
else:
    with following.leading():
        LoRA(epochs=9, learning_rates=(1e-3,)).fit(
            base_card.describe(sys.argv[1]), ALIKE, Path(sys.argv[2])
        )
"""


@pytest.mark.parametrize("dies", [0, 1])
def test_when_one_dies_the_other_stops_and_says_so(tmp_path: Path, dies: int) -> None:
    """Without torchrun's own watch over them."""
    base, port = tiny_models.save(tmp_path / "base"), free_port()
    words = ("-c", DYING, base.path, str(tmp_path / "made"))
    processes = [started(rank, port, *words, DIES=str(dies)) for rank in range(2)]
    try:
        processes[dies].communicate(timeout=120)
        died = time.monotonic()
        _, said = processes[1 - dies].communicate(timeout=60)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[dies].returncode == -9
    assert processes[1 - dies].returncode > 0
    assert time.monotonic() - died < 30
    assert f"ProcessError: process {1 - dies} has lost another one" in said
    assert "start all again, and they go on from the last look" in said
