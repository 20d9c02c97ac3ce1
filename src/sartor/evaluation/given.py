"""Answers made elsewhere, judged as one more candidate.

They come as JSONL, one row {"id", "output"} for each test example, and are kept under
`.sartor/given/` so that every later decision, report and comparison has them too. What they cost
and how long they took is known only where somebody says so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sartor.data.cleaning import writable
from sartor.data.files import read_json, write_json
from sartor.data.records import Example
from sartor.errors import DataError
from sartor.evaluation.records import Measured, Prediction, Report
from sartor.models.language_model import Completion

TECHNIQUE = "given"
"""What reports call the technique of answers made elsewhere."""
ROWS = 'rows are {"id": "...", "output": "..."}'


@dataclass(frozen=True, slots=True)
class Given:
    """A candidate whose answers were made elsewhere."""

    name: str
    outputs: dict[str, str]
    """By id of the test example."""
    seconds_per_answer: float | None = None
    cost_per_answer: float | None = None

    @property
    def measured(self) -> Measured:
        """What little is known around them."""
        seconds, cost = self.seconds_per_answer, self.cost_per_answer
        told = None if cost is None else 0.0  # it is what was said, not what was timed
        return Measured(TECHNIQUE, "elsewhere", seconds, cost, 0, 0.0, 0, serving_reach=told)

    def missing(self, test: Sequence[Example]) -> list[str]:
        """Ids of test examples that have no answer."""
        return [example.id for example in test if example.id not in self.outputs]

    def predictions(self, test: Sequence[Example]) -> list[Prediction]:
        """In the order of the test part; every example must have its answer."""
        seconds = self.seconds_per_answer or 0.0
        return [
            Prediction(example, Completion(self.outputs[example.id], "unknown", 0, 0, seconds))
            for example in test
        ]


def is_given(report: Report) -> bool:
    """Whether it is of answers made elsewhere."""
    return report.measured.technique == TECHNIQUE


def read_outputs(
    path: Path, test: Sequence[Example], others: Collection[str]
) -> tuple[dict[str, str], int]:
    """The answers to the test part by example id, and how many to `others` were passed over.

    `others` are ids of the training and validation parts. DataError, naming the line, for a row
    that is not one, an id that nobody has, or one that comes twice; and where any test example has
    no answer: those left out are seldom the easy ones.
    """
    known, outputs, passed = {example.id for example in test}, dict[str, str](), 0
    first_at: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        id, output = _row(line, f"{path}:{number}")
        if id in first_at:
            raise DataError(
                f"{path}:{number}: id {id!r} was answered on line {first_at[id]} already; expected "
                "one answer for each id. Remove one of the two."
            )
        first_at[id] = number
        if id in known:
            outputs[id] = output
        elif id in others:
            passed += 1
        else:
            raise DataError(
                f"{path}:{number}: no example has the id {id!r}; expected ids of the test part, "
                f"such as {test[0].id!r}. They are in .sartor/data/test.jsonl."
            )
    _refuse_gaps(path, test, outputs)
    return outputs, passed


def _refuse_gaps(path: Path, test: Sequence[Example], outputs: Mapping[str, str]) -> None:
    without = [example.id for example in test if example.id not in outputs]
    if without:
        raise DataError(
            f"{path} answers {len(outputs):,} of {len(test):,} test examples; {len(without):,} "
            f"have no answer (first: {', '.join(map(repr, without[:3]))}). Candidates are compared "
            "on the same examples only: answer them all, with an empty output where there is none."
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text. Write it in UTF-8; {ROWS}.") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Name a JSONL file; {ROWS}."
        ) from error


def _row(line: str, where: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}); {ROWS}.") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: not an object; {ROWS}.")
    for key in ("id", "output"):
        if key not in row:
            raise DataError(f"{where}: it has no {key!r}; {ROWS}.")
    id, output = row["id"], row["output"]
    if not isinstance(id, str) and (isinstance(id, bool) or not isinstance(id, int)):
        raise DataError(f"{where}: its id is {_shown(id)}; expected a text. {ROWS.capitalize()}.")
    if not isinstance(output, str):
        raise DataError(
            f"{where}: its output is {_shown(output)}; expected a text, empty where there is no "
            f"answer. {ROWS.capitalize()}."
        )
    if any(writable(text) != text for text in (str(id), output)):
        raise DataError(
            f"{where}: it has half of a character (such as \\ud83d without its other half), which "
            "cannot be written as UTF-8. Take it out, or write the character whole."
        )
    return str(id), output


def _shown(value: object) -> str:
    return json.dumps(value)[:60]  # as the file has it: null, not None


def keep(folder: Path, given: Given) -> None:
    """Keep it among the project's candidates; one of that name is replaced, whole or not at all."""
    write_json(folder / f"{given.name}.json", given)


def refuse_twin(folder: Path, name: str) -> None:
    """DataError where answers are kept under a name that differs in capitals only: some file
    systems would take the two for one."""
    for path in folder.glob("*.json"):
        if path.stem.lower() == name.lower() and path.stem != name:
            raise DataError(
                f"answers made elsewhere are kept under {path.stem!r}, which differs from {name!r} "
                f"in capitals only. Give that name to replace them, or another; or delete {path}."
            )


def kept(folder: Path) -> list[Given]:
    """All that were kept, by name."""
    return [read_json(path, Given) for path in sorted(folder.glob("*.json"))]
