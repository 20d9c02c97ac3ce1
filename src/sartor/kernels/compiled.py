"""The functions of kernels.c, compiled once on each machine and kept in the user's cache folder.

As torch.compile and Triton do it, the machine's compiler makes them for the very processor; unlike
what these make, they are written out, need no shapes, and take some seconds once. What was compiled
is tried in a process of its own before it is believed: a processor that lacks what its system
claims would end this one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sartor.progress import say

SOURCES = ("kernels.c", "functions.h", "products.h", "attention.h")
COMPILERS = ("cc", "gcc", "clang")
"""Asked in this order; the environment's CC comes first, and where it is empty there is none."""
FLAGS = (
    "-O3", "-std=c11", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math",
    "-ffp-contract=fast", "-fopenmp-simd",
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
if hasattr(library, "products"):
    at, room = ctypes.addressof, ctypes.create_string_buffer(1 << 16)
    pair = (ctypes.c_int64 * 10)(at(given), 7, 1, 0, at(some), 7, 1, 0, 7, 0)
    for tiles in {0, int(library.has_tiles())}:
        told = at(pair), 1, 1, 7, 7, at(into), 7, 0, 0, 0, tiles
        library.products((ctypes.c_int64 * 11)(*told), room)
"""


@cache
def library() -> ctypes.CDLL | None:
    """The functions; None where they cannot be had here, which is said once."""
    compiler = _compiler()
    if compiler is None:
        return None
    failure: Exception | None = None
    for folder in (_kept, _passing):
        try:
            with folder() as place:
                return _in(place, compiler)
        except (OSError, subprocess.SubprocessError) as error:
            failure = error
    say(
        f"{' '.join(compiler)} could not compile sartor's functions for this processor "
        f"({_reason(failure)}): all goes on without them, somewhat slower"
    )
    return None


def _compiler() -> tuple[str, ...] | None:
    """Its path, and arguments that CC gives it."""
    named = os.environ.get("CC")
    if named is None:
        found = next(filter(None, map(shutil.which, COMPILERS)), None)
        return None if found is None or os.name == "nt" else (found,)
    for words in ([named], _words(named)):
        if words and (found := shutil.which(words[0])):
            return (found, *words[1:])
    if named.strip():
        say(f"CC names {named!r}, which is not there: all goes on without compiled functions")
    return None


def _words(named: str) -> list[str]:
    try:
        return shlex.split(named)
    except ValueError:  # a quote without its other
        return []


def _in(folder: Path, compiler: tuple[str, ...]) -> ctypes.CDLL:
    """The functions as they lie in a folder, made there unless they are there whole: a file's name
    ends in the digest of what it holds. Half of one may load, and end the process later."""
    key = _key(compiler)
    for made in folder.glob(f"{key}-*.so"):
        if made.stem == f"{key}-{_digest(made.read_bytes())}":
            return ctypes.CDLL(str(made))
        made.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=folder) as place:
        new = _compiled(compiler, Path(place))
        made = new.replace(folder / f"{key}-{_digest(new.read_bytes())}.so")
    return ctypes.CDLL(str(made))


def _key(compiler: tuple[str, ...]) -> str:
    """Another source, compiler or processor makes another file."""
    sources = [(Path(__file__).parent / name).read_bytes() for name in SOURCES]
    version = subprocess.run([*compiler, "--version"], capture_output=True, timeout=SECONDS).stdout
    how = " ".join([*compiler[1:], *FLAGS]).encode()
    return _digest(b"\0".join([*sources, version, how, _processor()]))


def _digest(told: bytes) -> str:
    return hashlib.sha256(told).hexdigest()[:20]


def _processor() -> bytes:
    """What tells processors apart that share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n")
    except OSError:
        return " ".join([platform.machine(), platform.processor()]).encode()
    told = (b"model name", b"flags", b"Features", b"CPU part")
    return b"\n".join(sorted({line for line in lines if line.startswith(told)}))


@contextmanager
def _kept() -> Iterator[Path]:
    """The user's cache. OSError where nobody but the user is sure to be able to write there."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(home if home.startswith("/") else "~/.cache").expanduser()
    except RuntimeError as error:
        raise OSError(f"there is no home folder: {error}") from error
    kept = cache / "sartor" / "kernels"
    for folder in (cache, kept.parent, kept):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = kept.resolve()
    for folder in (kept, *kept.parents):
        told, ours = folder.stat(), folder in (kept, kept.parent)
        others = stat.S_IWOTH | (stat.S_IWGRP if ours else 0)
        if told.st_uid not in {0, os.getuid()} or (
            told.st_mode & others and not told.st_mode & stat.S_ISVTX
        ):
            raise OSError(f"others may write in {folder}")
    yield kept


@contextmanager
def _passing() -> Iterator[Path]:
    """A folder that goes when what lies in it has been loaded."""
    with tempfile.TemporaryDirectory(prefix="sartor-") as folder:
        yield Path(folder)


def _compiled(compiler: tuple[str, ...], folder: Path) -> Path:
    """A library made there, of which a function has been tried."""
    source, made = Path(__file__).parent / SOURCES[0], folder / "kernels.so"
    for number, processor in enumerate((*PROCESSORS, "")):
        flags = [*FLAGS, *([processor] if processor else [])]
        try:
            _run([*compiler, *flags, "-o", str(made), str(source), "-lm"])
            _run([sys.executable, "-I", "-c", TRIAL, str(made)])
            break
        except subprocess.CalledProcessError:
            if number == len(PROCESSORS):
                raise
    return made


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)


def _reason(error: Exception | None) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took longer than {SECONDS} seconds"
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)
    if error.cmd[0] == sys.executable:
        return "what it made does not run here"
    lines = [line.strip() for line in error.stderr.decode(errors="replace").split("\n")]
    told = [line for line in lines if "error" in line.lower()] or list(filter(None, lines))
    return told[0] if told else f"it ended with {error.returncode}"
