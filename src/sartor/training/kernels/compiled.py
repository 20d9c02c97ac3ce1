"""The functions of kernels.c, compiled once on each machine and kept in the user's cache folder.

As torch.compile and Triton do it, the machine's compiler makes them for the very processor; unlike
what these make, they are written out, need no shapes, and take one second. What was compiled is
tried in a process of its own before it is believed: a processor that lacks what its system claims
would end this one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sartor.progress import say

SOURCES = ("kernels.c", "functions.h")
COMPILERS = ("cc", "gcc", "clang")
"""Asked in this order; the environment's CC comes first, and where it is empty there is none."""
FLAGS = (
    "-O3", "-std=c11", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math",
    "-fassociative-math", "-fno-signed-zeros", "-freciprocal-math",
)  # fmt: skip
"""Not -ffast-math: it knows no infinities, and sets how all the process treats small numbers."""
PROCESSORS = ("-march=native", "-mcpu=native")
"""How a compiler is told to use all that this processor has; the first that it takes."""
SECONDS = 120
"""A compiler that takes longer is stopped."""
TRIAL = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
for kind, size in (("float32", 4), ("bfloat16", 2)):
    given, into, some = (ctypes.create_string_buffer(size * 77) for _ in range(3))
    getattr(library, "gated_" + kind)(given, some, into, ctypes.c_int64(77))
"""


@cache
def library() -> ctypes.CDLL | None:
    """The functions; None where they cannot be had here, which is said once."""
    compiler = _compiler()
    if compiler is None:
        return None
    try:
        with _folder() as folder:
            made = folder / f"kernels-{_key(compiler)}.so"
            if (kept := _loaded(made)) is not None:
                return kept
            _compile(compiler, made)
            return ctypes.CDLL(str(made))
    except (OSError, subprocess.SubprocessError) as error:
        say(
            f"{compiler} could not compile sartor's functions for this processor "
            f"({_last_line(error)}): training goes on without them, somewhat slower"
        )
        return None


def _loaded(made: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(made))
    except OSError:  # it is not there, or no longer whole
        return None


def _compiler() -> str | None:
    named = os.environ.get("CC")
    return next(filter(None, map(shutil.which, COMPILERS if named is None else [named])), None)


def _key(compiler: str) -> str:
    """Another source, compiler or processor makes another file."""
    told = hashlib.sha256()
    for name in SOURCES:
        told.update((Path(__file__).parent / name).read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=SECONDS)
    told.update(b"\0".join([version.stdout, " ".join(FLAGS).encode(), _processor()]))
    return told.hexdigest()[:20]


def _processor() -> bytes:
    """What tells processors apart that share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n")
    except OSError:
        return " ".join([platform.machine(), platform.processor()]).encode()
    told = (b"model name", b"flags", b"Features", b"CPU part")
    return b"\n".join(sorted({line for line in lines if line.startswith(told)}))


@contextmanager
def _folder() -> Iterator[Path]:
    """The user's cache; where nothing can be kept there, a folder that goes afterwards."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    kept = Path(home).expanduser() / "sartor" / "kernels"
    try:
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_ours = _is_ours(kept)
    except (OSError, RuntimeError):  # no home, or one that is read-only
        is_ours = False
    if is_ours:
        yield kept
    else:
        with tempfile.TemporaryDirectory(prefix="sartor-") as folder:
            yield Path(folder)


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can put code there for us to load."""
    told = folder.stat()
    return (
        os.access(folder, os.W_OK)
        and (not hasattr(os, "getuid") or told.st_uid == os.getuid())
        and not told.st_mode & 0o022
    )


def _compile(compiler: str, made: Path) -> None:
    source = Path(__file__).parent / SOURCES[0]
    with tempfile.TemporaryDirectory(prefix="making-", dir=made.parent) as folder:
        new = Path(folder) / made.name
        for number, processor in enumerate((*PROCESSORS, None)):
            flags = [*FLAGS, *([processor] if processor else [])]
            command = [compiler, *flags, "-o", str(new), str(source), "-lm"]
            try:
                _run(command)
                _run([sys.executable, "-c", TRIAL, str(new)])
                break
            except subprocess.CalledProcessError:
                if number == len(PROCESSORS):
                    raise
        new.replace(made)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)


def _last_line(error: Exception) -> str:
    lines = (getattr(error, "stderr", None) or b"").decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), str(error))
