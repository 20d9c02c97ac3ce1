"""Every run of a project, and what each change did, on validation.

One line of `history.jsonl` a run; the answers on validation that it rests on are kept beside it, so
that a candidate is compared with its earlier self, paired, long after. Looks at a test part are
kept in `looks.jsonl`: one line for each run that was decided on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.data.files import read_rows, write_rows
from sartor.errors import DataError
from sartor.evaluation.compare import Difference, compare
from sartor.evaluation.records import Decision, Estimate, Report
from sartor.evaluation.report import load


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate in one run."""

    candidate: str
    technique: str
    settings: dict[str, Any]
    digest: str
    """Of its customization."""
    notes: tuple[str, ...]
    validation: Estimate | None
    """Of the deciding scorer, on the validation part."""
    cost_per_answer: float | None
    training_seconds: float
    report: str
    """File of its answers on validation; empty for answers made elsewhere."""
    changed: tuple[str, ...] = ()
    """What differs from its earlier self; empty when nothing does."""
    effect: Difference | None = None
    """From its earlier self, paired, on the validation examples that both answered."""
    base: str = ""
    """Name and revision of its base; the run's where empty."""
    tested: str = ""
    """File of its report on the test part; empty where it was stopped before."""
    note: str = ""
    """How far the deciding score on validation can be trusted."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run that came to a decision."""

    number: int
    at: str
    """ISO 8601, UTC."""
    key: str
    """Digest of everything the decision depends on."""
    data: str
    """Digest of the data."""
    test: str
    """Digest of the test part."""
    base: str
    scorer: str
    looks: int
    """Runs that were decided on this test part, this one included."""
    decision: Decision
    entries: tuple[Entry, ...]
    failures: tuple[str, ...] = ()
    """Candidates that could not be run, and why."""
    config: str = ""
    """The project file, as it stood."""
    currency: str = ""
    bases: tuple[str, ...] = ()
    """Name and revision of each base, where there are several."""
    not_tried: tuple[str, ...] = ()
    """Candidates that were passed over, and why."""


@dataclass(frozen=True, slots=True)
class Look:
    """A run that was decided on a test part."""

    test: str
    key: str
    at: str


def read(path: Path) -> list[Run]:
    """All runs, oldest first."""
    return read_rows(path, Run) if path.is_file() else []


def add(path: Path, run: Run) -> None:
    """Add a run; a run with the key of the last one takes its place."""
    earlier = read(path)
    kept = [one for one in earlier if one.key != run.key or one.number != run.number]
    write_rows(path, [*kept, run])


def look(path: Path, test: str, key: str, at: str) -> int:
    """Record that a run is decided on a test part; how many runs have been, this one included."""
    looks = read_rows(path, Look) if path.is_file() else []
    if not any((one.test, one.key) == (test, key) for one in looks):
        looks.append(Look(test, key, at))
        write_rows(path, looks)
    return sum(one.test == test for one in looks)


def changes(
    earlier: Entry | None, settings: Mapping[str, Any], same_data: bool, same_base: bool
) -> tuple[str, ...]:
    """What differs from the candidate's earlier self, for people."""
    if earlier is None:
        return ("new",)
    found = [] if same_data else ["data"]
    found += [] if same_base else ["base"]
    before, now = _flat(earlier.settings), _flat(settings)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            found.append(f"{name}: {_told(before.get(name))} -> {_told(now.get(name))}")
    return tuple(found)


def effect(
    folder: Path, earlier: Entry, report: Report, scorer: str, margin: float, seed: int
) -> Difference | None:
    """The candidate against its earlier self; None where they share no answered example."""
    if not earlier.report:
        return None
    try:
        return compare(report, load(folder / earlier.report), scorer, margin, seed)
    except DataError:
        return None


def last_of(runs: Sequence[Run], candidate: str) -> tuple[Run, Entry] | None:
    """The newest run that had this candidate, and its entry there."""
    for run in reversed(runs):
        for entry in run.entries:
            if entry.candidate == candidate:
                return run, entry
    return None


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[f"{before}{name}"] = value
    return flat


def _told(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
