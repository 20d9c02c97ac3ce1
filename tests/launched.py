"""Processes as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def started(rank: int, port: str, *words: str, **more: str) -> subprocess.Popen[str]:
    """One of two processes, as torchrun would start it, with an environment of its own."""
    torchrun = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torchrun |= {"RANK": str(rank), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    given: dict[str, Any] = {"env": {**os.environ, **torchrun, **more}}
    return subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **given
    )
