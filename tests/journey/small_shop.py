"""The small shop's project file, and how to change it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

CONFIG = """
[project]
name = "corner shop"
[data]
documents = ["products.csv"]
examples = ["examples.jsonl"]
test_fraction = 0.4
validation_fraction = 0.2
[customize]
candidates = ["zero-shot", "rag", "lora"]
[techniques.lora]
learning_rates = [0.002]
epochs = 1.0
rank = 4
[evaluate]
max_new_tokens = 8
"""
COLORS = ("red", "green", "blue", "black", "white")
Sartor = Callable[..., subprocess.CompletedProcess[str]]
WORDS = (
    "Table", "Lamp", "Chair", "Shelf", "Bowl", "Clock", "Mirror", "Stool", "Tray", "Vase", "Bench",
    "Basket", "Rug", "Frame", "Jar",
)  # fmt: skip


def set_config(folder: Path, before: str, after: str) -> None:
    """Change one thing in sartor.toml."""
    path = folder / "sartor.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
