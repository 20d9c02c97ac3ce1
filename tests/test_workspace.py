"""Who holds a project's folder, and what is found there of those who were killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journey.small_shop import write

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


FULL = """
import resource, runpy, sys
room = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # as a disk that has no more room
runpy.run_module("sartor", run_name="__main__")
"""


def on_a_full_disk(room: int, *words: str) -> str:
    """What the command line says where no file may have more than `room` bytes."""
    command = [sys.executable, "-c", FULL, str(room), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_a_disk_without_room_for_a_process_number_is_told_with_its_folder(tmp_path: Path) -> None:
    shop = write(tmp_path / "shop")
    said = on_a_full_disk(0, "run", str(shop))
    assert f"error: cannot write in {shop / '.sartor'}: File too large. Check" in said
    assert (shop / ".sartor" / "lock").read_bytes() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_half_a_starter_is_taken_away_where_the_disk_is_full(tmp_path: Path) -> None:
    for new in (tmp_path / "new" / "shop", tmp_path):
        said = on_a_full_disk(5000, "init", str(new), "--use-case", "ecommerce")
        assert f"error: cannot write the starter to {new}: File too large. Free some" in said
        assert list(tmp_path.iterdir()) == []


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
