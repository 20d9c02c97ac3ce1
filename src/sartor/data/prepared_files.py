"""What `prepare` made, as files: the documents, each part of the examples, and the record of it.

documents.jsonl  train.jsonl  validation.jsonl  disliked.jsonl  test.jsonl  prepared.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sartor.data.files import read_json, read_rows, write_json, write_rows
from sartor.data.prepare import Prepared
from sartor.data.records import Document, Dropped, Example, Split, TrainingData
from sartor.errors import DataError


@dataclass(frozen=True, slots=True)
class _Told:
    """prepared.json: all but the rows."""

    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    personal_data: dict[str, int]
    counts: dict[str, int]


def save(prepared: Prepared, folder: Path) -> None:
    """Write all of it; each file is whole or not there."""
    training = prepared.split.training
    write_rows(folder / "documents.jsonl", training.documents)
    write_rows(folder / "train.jsonl", training.train)
    write_rows(folder / "validation.jsonl", training.validation)
    write_rows(folder / "disliked.jsonl", training.disliked)
    write_rows(folder / "test.jsonl", prepared.split.test)
    write_json(
        folder / "prepared.json",
        _Told(prepared.dropped, prepared.warnings, prepared.personal_data, prepared.counts),
    )


def load(folder: Path) -> Prepared:
    """Read what `save` wrote; DataError where it was changed by hand."""
    try:
        told = read_json(folder / "prepared.json", _Told)
        training = TrainingData(
            tuple(read_rows(folder / "documents.jsonl", Document)),
            tuple(read_rows(folder / "train.jsonl", Example)),
            tuple(read_rows(folder / "validation.jsonl", Example)),
            tuple(read_rows(folder / "disliked.jsonl", Example)),
        )
        test = tuple(read_rows(folder / "test.jsonl", Example))
    except OSError as error:
        raise DataError(
            f"{folder} is not as sartor left it ({error.strerror}: {error.filename}). "
            "Delete the folder and run again."
        ) from error
    return Prepared(
        Split(training, test), told.dropped, told.warnings, told.personal_data, told.counts
    )
