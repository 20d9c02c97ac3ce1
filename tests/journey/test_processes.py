"""Several processes, as torchrun starts them: they train together, and one does all the rest."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
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

from sartor.models import local

ROOT = Path(__file__).parents[2]
TOGETHER = CONFIG.replace('["zero-shot", "rag", "lora"]', '["zero-shot", "lora", "full"]').replace(
    "learning_rates = [0.002]", 'learning_rates = [0.002, 0.006]\nprecision = "float32"'
)
TOGETHER += """
[techniques.full]
learning_rates = [0.0004]
epochs = 1.0
precision = "float32"
"""
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")


def launched(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    port = str(free_port())
    command = [*TORCHRUN, "--master-port", port, *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, **more}
    )


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def weights(shop: Path, candidate: str) -> dict[str, torch.Tensor]:
    [file] = (shop / ".sartor" / "customizations").glob(f"{candidate}-*/*model.safetensors")
    return load_file(file)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same project run by one process, and by two."""
    alone = write(tmp_path_factory.mktemp("processes") / "alone")
    (alone / "sartor.toml").write_text(TOGETHER)
    together = alone.with_name("together")
    shutil.copytree(alone, together)
    run = [sys.executable, "-m", "sartor", "run", str(alone)]
    subprocess.run(run, check=True, timeout=300, capture_output=True)
    done = launched("-m", "sartor", "run", str(together), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["winner"]  # one process prints, and nothing else does
    return alone, together


@pytest.mark.slow
@pytest.mark.parametrize("candidate", ["lora", "full"])
def test_two_processes_train_what_one_trains(shops: tuple[Path, Path], candidate: str) -> None:
    alone, together = (weights(shop, candidate) for shop in shops)
    assert alone.keys() == together.keys()
    base = load_file(local.THIMBLE / "model.safetensors") if candidate == "full" else {}
    began = {name: base.get(name, torch.zeros(())).float() for name in alone}
    moved = math.hypot(*(float((alone[n].float() - began[n]).norm()) for n in alone))
    apart = math.hypot(*(float((alone[n].float() - together[n].float()).norm()) for n in alone))
    assert moved > 0

    assert apart / moved < (5e-3 if base else 1e-3)  # a whole model is kept in bfloat16
    curves = []
    for shop in shops:
        [file] = (shop / ".sartor" / "customizations").glob(f"{candidate}-*/curve.json")
        curves.append(json.loads(file.read_text()))
    one, two = curves
    assert one["steps"] == two["steps"]
    assert one["learning_rate"] == two["learning_rate"]
    assert one["tokens"] == two["tokens"]
    assert one["curve"] == [pytest.approx(row, rel=1e-4) for row in two["curve"]]


@pytest.mark.slow
def test_what_the_helpers_need_leaves_nothing_in_the_project(shops: tuple[Path, Path]) -> None:
    def listed(shop: Path) -> set[str]:
        paths = (path.relative_to(shop).as_posix() for path in shop.rglob("*"))
        return {re.sub(r"-[0-9a-f]{12}", "", path) for path in paths}

    alone, together = map(listed, shops)
    assert alone == together


DYING = """
import os, signal, sys
from pathlib import Path
from sartor.data.records import TrainingData
from sartor.models import local
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
            local.describe(sys.argv[1]), ALIKE, Path(sys.argv[2])
        )
"""


@pytest.mark.parametrize("dies", [0, 1])
def test_when_one_dies_the_other_stops_and_says_so(tmp_path: Path, dies: int) -> None:
    """Without torchrun's own watch over them."""
    base, port = tiny_models.save(tmp_path / "base"), str(free_port())
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"DIES": str(dies), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    processes: list[subprocess.Popen[str]] = []
    for rank in range(2):
        run = [sys.executable, "-c", DYING, base.path, str(tmp_path / "made")]
        given: dict[str, Any] = {"env": {**os.environ, **shared, "RANK": str(rank)}}
        processes.append(subprocess.Popen(run, stderr=subprocess.PIPE, text=True, **given))
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


TROUBLED = """
import os, sys
from pathlib import Path
from sartor.models import local
from sartor.techniques import following
from sartor.techniques.lora import LoRA
from sartor.training.trainable import Trainable
from tests.training.test_loop import ALIKE

whole, passes = Trainable.loss, []

def troubled(self, pack):
    passes.append(1)
    if len(passes) == 5 and os.environ.get("RANK") == "1":
        raise MemoryError
    loss, counted = whole(self, pack)
    return loss * (float("nan") if any(e.id == "train3" for e in pack) else 1), counted

Trainable.loss = troubled
if following.follows():
    following.follow()
else:
    with following.leading():
        LoRA(epochs=3, batch_size=4, learning_rates=(1e-3, 1e-2), looks=3, precision="float32").fit(
            local.describe(sys.argv[1]), ALIKE, Path(sys.argv[2])
        )
"""


def test_trouble_in_one_process_is_met_by_all_and_the_result_is_the_same(tmp_path: Path) -> None:
    """An example whose loss is no number, which only one process sees; memory that runs out."""
    base, script = tiny_models.save(tmp_path / "base"), tmp_path / "troubled.py"
    script.write_text(TROUBLED)
    path = os.pathsep.join([str(ROOT), *sys.path])
    one, two = tmp_path / "one", tmp_path / "two"
    alone = [sys.executable, str(script), base.path, str(one)]
    subprocess.run(alone, check=True, timeout=200, env={**os.environ, "PYTHONPATH": path})
    done = launched(str(script), base.path, str(two), PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    rows = [
        [json.loads(line)["id"] for line in file.read_text().split("\n") if line]
        for folder in (one, two)
        for file in folder.glob("bad-batch-*.jsonl")
    ]
    assert len(rows) == 2
    assert "train3" in rows[0] == rows[1]
    adapters = [load_file(folder / "adapter_model.safetensors") for folder in (one, two)]
    for name, value in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], value, rtol=1e-3, atol=1e-4)
