"""A small shop: enough to go the whole way with thimble in some seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journey.small_shop import Sartor, write


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project of 60 products, one question on each."""
    return write(tmp_path / "shop")


@pytest.fixture
def sartor() -> Sartor:
    """Run the command line in a process of its own."""

    def run(*words: str, **options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sartor", *words],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, **options},
        )

    return run
