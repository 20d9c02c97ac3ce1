"""Who holds a project's folder, and what is found there of those who were killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sartor.training.state import STATE, writing
from sartor.workspace import Workspace


def ended() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_process_had_half_written_is_gone_with_the_next_run(tmp_path: Path) -> None:
    made = tmp_path / ".sartor" / "customizations" / "lora-1"
    made.mkdir(parents=True)
    dead = ended()
    half = [
        made / f".curve.json.{dead}.tmp", made / f"{STATE}.tmp",
        tmp_path / f".report.html.{dead}.tmp",
    ]  # fmt: skip
    being_written = made / f".curve.json.{os.getppid()}.tmp"
    not_ours = tmp_path / f".notes.{dead}.tmp"
    for path in (*half, being_written, not_ours):
        path.write_text("{")
    with Workspace(tmp_path).locked():
        assert not any(path.exists() for path in half)
        assert being_written.exists()
        assert not_ours.exists()


def interrupted(path: Path) -> None:
    with writing(path):
        path.with_name(f"{path.name}.tmp").write_text("half")
        raise KeyboardInterrupt


def test_a_state_whose_writing_is_interrupted_leaves_no_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / STATE
    path.write_text("the state before")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert [found.name for found in tmp_path.iterdir()] == [STATE]
