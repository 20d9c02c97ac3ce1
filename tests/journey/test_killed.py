"""A run that is killed at any moment goes on, and decides the same."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

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
