"""A small shop: enough to go the whole way with thimble in some seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journey.small_shop import COLORS, CONFIG, WORDS, Sartor


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project of 60 products, one question on each."""
    folder = tmp_path / "shop"
    folder.mkdir()
    names = [f"{a} {b}" for a in ("Oak", "Iron", "Wool", "Glass") for b in WORDS]
    prices = [f"${7 + 3 * i}" for i in range(len(names))]
    rows = [f"{n},{p},{COLORS[i % 5]}" for i, (n, p) in enumerate(zip(names, prices, strict=True))]
    (folder / "products.csv").write_text("\n".join(["name,price,color", *rows]) + "\n")
    with (folder / "examples.jsonl").open("w") as file:
        for i, (name, price) in enumerate(zip(names, prices, strict=True)):
            row = {"id": f"q{i}", "input": f"How much does the {name} cost?", "output": price}
            file.write(json.dumps(row) + "\n")
    (folder / "sartor.toml").write_text(CONFIG)
    return folder


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
