"""Ctrl-C while the command line is imported, while it ends, and pressed twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sartor.__main__ import PATIENCE, Interrupts

STOPPED = (130, -signal.SIGINT)
"""To a shell they are one: Python ends by the signal where that fell into code that `exec` ran."""
INTERRUPTED = """
import atexit, os, runpy, signal, sys

when = sys.argv.pop(1)

def press():
    os.kill(os.getpid(), signal.SIGINT)

class Watching:
    def find_spec(self, name, *_):
        if name == when:
            sys.meta_path.remove(self)
            press()
        elif name == "typer" and when == "exit":
            atexit.register(press)

sys.meta_path.insert(0, Watching())
runpy.run_module("sartor", run_name="__main__")
"""
"""Ctrl-C as soon as a module is imported, or as Python exits."""


def interrupted(when: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED, when, *words],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "module"),
    [
        ("run", "sartor.cli"), ("run", "typer"), ("check", "rich"), ("run", "sartor.journey"),
        ("check", "torch"), ("run", "transformers"), ("run", "pydantic"),
    ],
)  # fmt: skip
def test_ctrl_c_while_libraries_are_imported_leaves_no_traceback(
    verb: str, module: str, shop: Path
) -> None:
    done = interrupted(module, verb, str(shop))
    assert done.returncode in STOPPED, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("stopped") == 1


def test_ctrl_c_while_python_exits_leaves_no_traceback() -> None:
    done = interrupted("exit", "models", "--help")
    assert done.returncode == 130, done.stderr
    assert done.stderr == ""


def test_ctrl_c_twice_quickly_is_ctrl_c_once(shop: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sartor", "run", str(shop)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    lock = shop / ".sartor" / "lock"
    until = time.monotonic() + 120
    while not (lock.is_file() and lock.read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        time.sleep(0.005)
    _, told = process.communicate(timeout=60)
    assert process.returncode in STOPPED, told.decode()
    assert "Traceback" not in told.decode()
    assert told.decode().count("stopped; what was done is kept") == 1
    assert lock.read_text() == ""
    assert not list(shop.rglob("*.tmp"))


def test_ctrl_c_is_heard_again_where_cleaning_up_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [5.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    press = Interrupts()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            press()
        press()
        now[0] += PATIENCE


def test_a_command_that_does_not_hear_ctrl_c_goes_on() -> None:
    """As a script's `&` starts it."""
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED
    done = subprocess.run(
        [sys.executable, "-c", deaf, "typer", "models", "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
