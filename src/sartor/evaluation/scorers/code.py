"""Code by execution: the answer is a Python program that passes the example's tests.

Each runs in a process of its own, in an empty folder, without the environment's variables, with
limits on time, memory, files and processes, and without a network where Linux lets an ordinary
user close it. That bounds accidents; it is no prison for hostile code: run it in a container.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from shutil import which
from typing import ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.by_id import read_by_id
from sartor.evaluation.scorers.execution import refuse_unless_allowed, written_as
from sartor.evaluation.scorers.place import Placed, digest_of
from sartor.settings import STRICT

LEAST_MEMORY_MB = 64
LANGUAGES = frozenset({"", "py", "python"})
_LIMITED = """
import os, resource, runpy, sys
memory, seconds, ours, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
token, sys.argv[:] = os.read(ours, 64), [path]
for what, most in (
    (resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_NPROC, 0),
    (resource.RLIMIT_FSIZE, 2**20), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 32),
):
    resource.setrlimit(what, (most, most))
runpy.run_path(path, run_name="__main__")
os.write(ours, token)
"""
"""Sets the limits, then runs the program. That it came to its end is said on a line of our own, by
giving back the token that was read from it: what the program prints does not matter, and its folder
and arguments do not tell. (One that searches this process's memory could find it.)"""


@dataclass(frozen=True, config=STRICT)
class Code(Placed):
    """1 when the program, with the tests after it, comes to its end without an error."""

    name: ClassVar[str] = "code"
    binary: ClassVar[bool] = True

    tests: str = ""
    """Path of a JSONL file: `{"id": "...", "test": "assert f(2) == 4"}`."""
    allow_execution: bool = False
    """Nothing is run until this is true."""
    max_seconds: float = 10.0
    """Of one program."""
    max_memory_mb: int = 512
    """Of one program."""

    def __post_init__(self) -> None:
        if not 0 < self.max_seconds < math.inf or self.max_memory_mb < LEAST_MEMORY_MB:
            raise SettingError(
                f"scorer code: max_seconds is {self.max_seconds:g} and max_memory_mb is "
                f"{self.max_memory_mb}; expected more than 0 seconds and {LEAST_MEMORY_MB} MB or "
                "more, which Python itself needs. Leave them out for 10 and 512."
            )

    def check(self) -> None:
        """Raises SettingError where it is not allowed, or the tests cannot be read."""
        refuse_unless_allowed(self.name, self.allow_execution)
        if sys.platform == "win32":
            raise SettingError("scorer code: there are no limits on memory on Windows. Use Linux.")
        _ = self._tests

    def made_of(self) -> str:
        return digest_of(self.place.file(self.name, "tests", self.tests))

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Of examples that have a test."""
        self.check()
        kept = [p for p in predictions if p.example.id in self._tests]
        faults = [self._fault(p.completion.text, self._tests[p.example.id]) for p in kept]
        return [
            Score(p.example.id, self.name, float(not fault), fault)
            for p, fault in zip(kept, faults, strict=True)
        ]

    def note(self, predictions: Sequence[Prediction], scores: Sequence[Score]) -> str:
        if not scores or _without_network():
            return ""
        return "made with the network open to the programs: this machine lets no user close it"

    @cached_property
    def _tests(self) -> dict[str, str]:
        path = self.place.file(self.name, "tests", self.tests)
        return read_by_id(path, self.name, "test")

    def _fault(self, text: str, test: str) -> str:
        program = f"{written_as(text, LANGUAGES)}\n\n{test}\n"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "answer.py"
            path.write_text(program, encoding="utf-8", errors="replace")
            return self._run(path)

    def _run(self, path: Path) -> str:
        limits = [str(self.max_memory_mb * 2**20), str(max(1, math.ceil(self.max_seconds) + 1))]
        ours, theirs = socket.socketpair()
        token = secrets.token_hex(16).encode()
        command = [sys.executable, "-I", "-S", "-c", _LIMITED, *limits, str(theirs.fileno())]
        # A file takes at most 1 MiB, by the limit on files.
        with ours, tempfile.TemporaryFile() as said:
            with theirs:
                ours.sendall(token)
                ran = subprocess.Popen(
                    [*_without_network(), *command, str(path)], cwd=path.parent, env={},
                    stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                    start_new_session=True, pass_fds=(theirs.fileno(),),
                )  # fmt: skip
            try:
                ran.wait(self.max_seconds)
            except subprocess.TimeoutExpired:
                return f"it ran for more than {self.max_seconds:g} seconds"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(ran.pid, signal.SIGKILL)  # what it started, too
                ran.wait()
            if ran.returncode == 0 and _given_back(ours) == token:
                return ""
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").rstrip().split("\n")
        return (lines[-1] if ran.returncode else "it ended before the tests did")[:300] or "killed"


def _given_back(ours: socket.socket) -> bytes:
    """What the process wrote; nothing where it wrote nothing, and nobody is waited for."""
    ours.setblocking(False)
    try:
        return ours.recv(64)
    except OSError:  # nothing there, or torn off
        return b""


@cache
def _without_network() -> tuple[str, ...]:
    """The command that runs another without a network; empty where that cannot be done."""
    if not which("unshare"):
        return ()
    command = (str(which("unshare")), "--user", "--map-root-user", "--net")
    ran = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if ran.returncode == 0 else ()
