"""What e2e.py and verdicts.py share: a project run by `sartor run`, and its decision read back."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def examples(data: Path, folder: str, label: str) -> list[dict[str, Any]]:
    """The rows of that kind; none where the data are not here, which is said."""
    path = data / folder / "examples.jsonl"
    if not path.is_file():
        print(f"no {path}; nothing to do (--data FOLDER says where it is)", file=sys.stderr)
        return []
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [row for row in rows if row["label"] == label]


def write_rows(path: Path, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    """JSONL of those keys, where a row has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({k: row[k] for k in keys if k in row}, ensure_ascii=False) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), "utf-8")


def sartor(*arguments: str | Path) -> dict[str, Any]:
    """A verb in a process of its own, with --json: what it prints."""
    command = [sys.executable, "-m", "sartor", *map(str, arguments), "--json"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} failed with {ran.returncode}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def told(decision: dict[str, Any]) -> dict[str, Any]:
    """The winner, and each candidate's score with its interval and verdict."""
    return {
        "winner": decision["winner"],
        "best": decision["best"],
        "reason": decision["reason"],
        "scorer": decision["scorer"],
        "margin": decision["margin"],
        "n": decision["n"],
        "candidates": {one["name"]: _row(one) for one in decision["candidates"]},
    }


def _row(one: dict[str, Any]) -> dict[str, Any]:
    estimate = one["estimate"]
    return {
        **(
            {part: round(estimate[part], 4) for part in ("mean", "low", "high")} if estimate else {}
        ),
        "verdict": one["verdict"],
        "difference": _rounded(one["difference"]),
        "difference_low": _rounded(one["low"]),
        "difference_high": _rounded(one["high"]),
        "trainable_parameters": one["trainable_parameters"],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def other_figures(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Every score of every candidate beside the one that decides: mean, low, high."""
    from sartor.journey import Project

    return {
        report.candidate: {
            name: [round(part, 4) for part in (found.mean, found.low, found.high)]
            for name, found in report.estimates.items()
        }
        for report in Project.open(folder).outcome().reports
    }


def answers(folder: Path, candidate: str) -> list[dict[str, str]]:
    """What a candidate answered the test part: id, output."""
    from sartor.journey import Project

    [report] = [r for r in Project.open(folder).outcome().reports if r.candidate == candidate]
    return [{"id": p.example.id, "output": p.completion.text} for p in report.predictions]


def cpu_minutes() -> float:
    """Of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((used.ru_utime + used.ru_stime) / 60, 1)
