"""What a search has tried, kept in its folder: what it goes on from after it was killed.

trials.json  trials/<number>/
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sartor.data.files import read_json, write_json
from sartor.techniques.wrapping import INNER

TRIALS, RECORD = "trials", "trials.json"


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that were tried, and what came of them."""

    number: int
    settings: dict[str, Any]
    state: Literal["whole", "pruned", "failed"]
    loss: float | None
    """The lowest on validation, of a whole trial."""
    looks: tuple[float, ...]
    """Losses on validation, in turn."""
    tokens: int
    """Trained on, at the last look."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Tried:
    """All trials so far."""

    made_of: str
    trials: tuple[Trial, ...] = ()

    @property
    def best(self) -> Trial | None:
        whole = [trial for trial in self.trials if trial.loss is not None]
        return min(whole, key=lambda trial: (trial.loss, trial.number), default=None)


def resumed(directory: Path, made_of: str) -> Tried:
    """What was tried on the same data with the same settings; what is left of others goes."""
    if (directory / RECORD).is_file():
        tried = read(directory)
        if tried.made_of == made_of:
            return tried
        for stale in (TRIALS, INNER):
            shutil.rmtree(directory / stale, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    tried = Tried(made_of)
    keep(directory, tried)
    return tried


def read(directory: Path) -> Tried:
    """All trials so far."""
    return read_json(directory / RECORD, Tried)


def keep(directory: Path, tried: Tried) -> None:
    """Write them down; of what they trained the best alone stays."""
    write_json(directory / RECORD, tried)
    for other in tried.trials:
        if other is not tried.best:
            shutil.rmtree(folder_of(directory, other.number), ignore_errors=True)


def keep_best(directory: Path, best: Trial) -> None:
    """Put what the best trial trained where a technique keeps what is inside it."""
    kept = folder_of(directory, best.number)
    if kept.is_dir():
        shutil.rmtree(directory / INNER, ignore_errors=True)
        kept.rename(directory / INNER)
    shutil.rmtree(directory / TRIALS, ignore_errors=True)


def folder_of(directory: Path, number: int) -> Path:
    """Where a trial trains."""
    return directory / TRIALS / f"{number:03}"
