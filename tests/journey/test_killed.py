"""A run that is killed at any moment goes on, and decides the same."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests import tiny_models
from tests.journey.small_shop import set_config, write

KILLS = 10


def decided(folder: Path) -> dict[str, Any]:
    """The decision without what a clock measures."""
    found: dict[str, Any] = json.loads((folder / ".sartor" / "decision.json").read_text())
    measured = {"cost_per_answer", "seconds_per_answer", "training_seconds", "peak_memory_bytes"}
    for row in found["candidates"]:
        assert measured <= row.keys()
    return {
        "n": found["n"],
        "winner": found["winner"],
        "best": found["best"],
        "candidates": [
            {k: v for k, v in row.items() if k not in {*measured, "reason"}}
            for row in found["candidates"]
        ],
    }


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "sartor", "run", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_ten_kills_change_nothing(shop: Path) -> None:
    whole = shop.with_name("whole")
    fresh = shop.with_name("fresh")
    shutil.copytree(shop, whole)
    shutil.copytree(shop, fresh)
    began = time.monotonic()
    unbroken = start(whole)
    _, told = unbroken.communicate()
    assert unbroken.returncode == 0, told.decode()
    usual = time.monotonic() - began
    chance = random.Random(5)
    killed = 0
    while killed < KILLS:
        process = start(shop)
        try:
            process.wait(chance.uniform(0.1, 0.9) * usual)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        else:
            if killed:
                break  # what the earlier ones did was enough to get to the end
            shutil.rmtree(shop)  # it was quicker than the unbroken one: begin again
            shutil.copytree(fresh, shop)
            usual /= 2
        finally:
            assert process.stderr is not None
            process.stderr.close()
    last = start(shop)
    _, told = last.communicate()
    assert last.returncode == 0, told.decode()
    assert killed > 0
    assert decided(shop) == decided(whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_asked_to_stop_says_so_and_leaves_nothing_half(
    shop: Path, number: signal.Signals, code: int
) -> None:
    process = start(shop)
    lock = shop / ".sartor" / "lock"
    until = time.monotonic() + 120
    while not (lock.is_file() and lock.read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told.decode()
    said = "stopped; what was done is kept. The same command goes on from there.\n"
    assert told.decode().endswith(said)
    assert "Traceback" not in told.decode()
    assert lock.read_text() == ""
    assert not list(shop.rglob("*.tmp"))


DYING = """
import os, runpy, signal, sys

folder, change = sys.argv[2], int(os.environ.get("DIES", "0"))
seen = 0

def watch(event, given):
    global seen
    writes = event == "open" and (given[2] or 0) & (os.O_WRONLY | os.O_RDWR)
    if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir"):
        if str(given[0]).startswith(folder):
            seen += 1
            if seen == change:
                os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
try:
    runpy.run_module("sartor", run_name="__main__")
finally:
    print(seen)
"""
"""`sartor run FOLDER`, killed just before it changes a file in there for the `DIES`th time."""
TRAINED = """
candidates = [
  "p-tuning", { name = "plus", technique = "lora", plus_ratio = 16 }, "dpo", "merge+lora",
]
"""

SHORT = """
[techniques.p-tuning]
learning_rates = [0.01]
epochs = 1.0
[techniques.dpo]
learning_rates = [0.001]
epochs = 1.0
"""


def dying(folder: Path, change: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DYING, "run", str(folder)],
        env={**os.environ, "DIES": str(change)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def judged(folder: Path, base: Path) -> Path:
    """A project whose examples have tags and rejected answers, for techniques that want them."""
    write(folder)
    rows = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"tags": [("cheap", "dear")[number % 2]], "rejected": f"${number * 5 + 1} or so"}
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    set_config(folder, 'candidates = ["zero-shot", "rag", "lora"]', TRAINED)
    set_config(folder, "[customize]", f'[model]\nbase = "{base}"\n[customize]')
    set_config(folder, "[evaluate]", f"{SHORT}[evaluate]")
    return folder


def trained(folder: Path) -> dict[str, bytes]:
    """Weights, what is said of them, and learning curves."""
    made = folder / ".sartor" / "customizations"
    return {
        path.relative_to(made).as_posix(): path.read_bytes()
        for path in made.rglob("*")
        if path.suffix == ".safetensors" or path.name in ("curve.json", "adapter_config.json")
    }


def answered(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """By candidate and part."""
    found = {}
    for path in folder.glob(".sartor/answers/*/*.jsonl"):
        _, *rows = map(json.loads, path.read_text().splitlines())
        found[f"{path.parent.name}/{path.stem}"] = [
            (row["id"], row["completion"]["text"]) for row in rows
        ]
    return found


def measured(folder: Path) -> list[tuple[str, Any]]:
    candidates = json.loads((folder / ".sartor" / "decision.json").read_text())["candidates"]
    return [(row["name"], row["estimate"]) for row in candidates]


@pytest.mark.slow
def test_kills_between_any_two_changes_of_files_leave_the_same_bytes(tmp_path: Path) -> None:
    """P-tuning, LoRA+, preferences and merging; all but what a clock measures is the same."""
    base = Path(tiny_models.save(tmp_path / "base").path)
    whole, shop = judged(tmp_path / "whole", base), judged(tmp_path / "shop", base)
    unbroken = dying(whole, 0)
    assert unbroken.returncode == 0, unbroken.stderr
    changes = int(unbroken.stdout.split()[-1])
    chance, killed = random.Random(8), 0
    while (last := dying(shop, chance.randint(changes // 8, changes // 3))).returncode == -9:
        killed += 1
    assert last.returncode == 0, last.stderr
    assert killed > 2
    assert trained(shop) == trained(whole)
    assert len(trained(whole)) > 10
    assert answered(shop) == answered(whole)
    assert len(answered(whole)) == 8
    assert measured(shop) == measured(whole)
    assert not list(shop.rglob("*.tmp"))
