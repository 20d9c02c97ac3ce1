"""The small shop's project file, and how to change it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from sartor.progress import Silent

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


def write(folder: Path) -> Path:
    """A project of 60 products, one question on each."""
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


def set_config(folder: Path, before: str, after: str) -> None:
    """Change one thing in sartor.toml."""
    path = folder / "sartor.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


class Heard(Silent):
    """Keeps what people would be told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)
