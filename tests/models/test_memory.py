"""Memory goes back to the system when tensors are dropped."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

DROPPED = """
from sartor.models.memory import held, keep_large_apart

{settled}
import torch

warm = torch.ones(6 << 20)  # glibc's own rule: from now on what is smaller lies in the heap
del warm
tensors = [torch.ones(1 << 20) for _ in range(64)]
before = held()
del tensors[::2]
print((before - held()) >> 20)
"""
"""Half of 64 tensors of 4 MiB are dropped, each between two that are kept."""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's heap is settled")
def test_large_tensors_that_are_dropped_leave_no_holes() -> None:
    assert _handed_back("keep_large_apart()") >= 120


def _handed_back(settled: str) -> int:
    """MiB."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", DROPPED.format(settled=settled)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)
