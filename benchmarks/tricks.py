"""The demonstration's decision with every trick of training and with none: `python
benchmarks/tricks.py`.

The e-commerce starter is made in two folders and run as it is, and with `plain = true` for what it
trains: examples one by one in float32 through transformers' own layers. The same candidate should
win, with the same verdicts, and scores that differ by no more than chance.

`--upper` compares lora in all layers with lora in the uppermost three and two of thimble's six,
before either may become a default. JSON to stdout; `--out` keeps the projects, and goes on with
those that are there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TRAINED = ("p-tuning", "lora", "full")
UPPER = (3, 2)
"""Of thimble's six layers."""


def project(folder: Path, candidates: list[str], *, plain: bool = False) -> Path:
    """The project that `sartor demo` makes, of these candidates; without tricks if `plain`."""
    from sartor.new_project import create
    from sartor.project import FILE

    if (folder / FILE).exists():
        return folder
    path = create(folder, use_case="ecommerce", candidates=candidates)
    if plain:
        text = path.read_text("utf-8")
        for name in TRAINED:
            text = text.replace(f"[techniques.{name}]\n", f"[techniques.{name}]\nplain = true\n")
        path.write_text(text, "utf-8")
    return folder


def project_of_depths(folder: Path) -> Path:
    """The same project with lora alone: in all layers, and in the uppermost only."""
    project(folder, ["lora"])
    path = folder / "sartor.toml"
    tables = [
        f'    {{ name = "lora-upper-{count}", technique = "lora", upper_layers = {count} }},\n'
        for count in UPPER
    ]
    text = path.read_text("utf-8")
    if tables[0] not in text:
        path.write_text(text.replace('    "lora",\n', '    "lora",\n' + "".join(tables)), "utf-8")
    return folder


def decided(folder: Path) -> dict[str, Any]:
    """Run it in a process of its own; the winner, and each candidate's score, verdict and time."""
    ran = subprocess.run(
        [sys.executable, "-m", "sartor", "run", str(folder), "--json"],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        sys.exit(f"{folder}: sartor run failed with {ran.returncode}")
    decision = json.loads(ran.stdout)
    return {
        "winner": decision["winner"],
        "scorer": decision["scorer"],
        "n": decision["n"],
        "candidates": {
            one["name"]: {
                **{part: round(one["estimate"][part], 4) for part in ("mean", "low", "high")},
                "verdict": one["verdict"],
                "training_seconds": round(one["training_seconds"], 1),
            }
            for one in decision["candidates"]
        },
    }


def on_and_off(out: Path, candidates: list[str]) -> dict[str, Any]:
    """Both decisions, and what they differ in."""
    tricks = decided(project(out / "tricks", candidates))
    plain = decided(project(out / "plain", candidates, plain=True))
    pairs = [(one, plain["candidates"][name]) for name, one in tricks["candidates"].items()]
    return {
        "candidates": candidates,
        "tricks": tricks,
        "plain": plain,
        "same_winner": tricks["winner"] == plain["winner"],
        "same_verdicts": all(one["verdict"] == other["verdict"] for one, other in pairs),
        "largest_difference": round(max(abs(a["mean"] - b["mean"]) for a, b in pairs), 4),
    }


def main() -> None:
    from sartor.project import CANDIDATES

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--candidates", default=",".join(CANDIDATES), help="only these")
    parser.add_argument("--upper", action="store_true", help="compare depths of lora instead")
    parser.add_argument("--out", type=Path, help="keep the projects here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or Path(temporary)
        if arguments.upper:
            told = decided(project_of_depths(out / "upper"))
        else:
            told = on_and_off(out, arguments.candidates.split(","))
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
