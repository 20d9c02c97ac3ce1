"""The journey on every folder of real data: `python benchmarks/domains.py [--only NAME]`.

Each folder has `documents/` and `examples.jsonl`. For each a project is made as a user would make
it, run, and its decision read back. The table goes to stderr, JSON to stdout. Without the data
(they are not in this repository) it says so and does nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SEVEN = "zero-shot,few-shot,rag,p-tuning,lora,full,rag+lora"


def journey(folder: Path, project: Path, candidates: str) -> dict[str, Any]:
    """Init and run; what came of it."""
    began = time.perf_counter()
    sartor = [sys.executable, "-m", "sartor"]
    made = subprocess.run(
        [
            *sartor, "init", str(project), "--documents", str(folder / "documents"),
            "--examples", str(folder / "examples.jsonl"), "--candidates", candidates,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ran = subprocess.run(
        [*sartor, "run", str(project), "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    row: dict[str, Any] = {
        "folder": folder.name,
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "exit_code": made.returncode or ran.returncode,
    }
    if row["exit_code"]:
        return row | {"error": made.stderr[-500:]}
    decision = json.loads(ran.stdout)
    return row | {
        "winner": decision["winner"],
        "n": decision["n"],
        "reason": decision["reason"],
        "estimates": {
            one["name"]: [round(one["estimate"][part], 3) for part in ("mean", "low", "high")]
            for one in decision["candidates"]
            if one["estimate"]
        },
    }


def show(row: dict[str, Any]) -> None:
    """One folder, for people."""
    scores = "  ".join(
        f"{name} {mean:.3f}" for name, (mean, *_) in row.get("estimates", {}).items()
    )
    told = row.get("winner") or row.get("error") or "no winner"
    print(f"{row['folder']:18} {row['minutes']:5.1f} min  {told:12} {scores}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, help="keep the projects here")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--candidates", default=SEVEN)
    args = parser.parse_args()
    folders = sorted(path.parent for path in args.data.glob("*/examples.jsonl"))
    folders = [folder for folder in folders if not args.only or folder.name in args.only]
    if not folders:
        print(f"no folder with examples.jsonl in {args.data}; nothing to do", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as temporary:
        out = args.out or Path(temporary)
        rows = []
        for folder in folders:
            rows.append(journey(folder, out / folder.name, args.candidates))
            show(rows[-1])
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
