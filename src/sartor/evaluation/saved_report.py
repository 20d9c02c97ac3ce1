"""A report as one JSON file.

The keys of the file (`.sartor/reports/<candidate>.json`) are stable:

    format                1
    candidate             its name
    measured              technique, base, seconds_per_answer, cost_per_answer,
                          trainable_parameters, training_seconds, peak_memory_bytes
    estimates             by scorer: mean, low, high (95 %), n
    slices                by slice, then by scorer: the same
    notes                 by scorer: how far its scores can be trusted
    forgotten             before, after, loss, low, high (95 %), n, limit; null when not asked
    predictions           a list, in the order of the test part:
        id, source, group, tags, evidence, answerable      of the example
        input                                              messages: role, content
        targets                                            the first was trained on
        output, finish                                     what the candidate said
        passages                                           document_id, start, end, title, text
        scores, explanations                               by scorer
        seed_scores                                        by scorer, one for each seed
        seconds, prompt_tokens, new_tokens                 of the answer
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from sartor.data.files import from_json, write_json
from sartor.data.records import Example, Message, Passage
from sartor.errors import DataError
from sartor.evaluation.records import Estimate, Forgotten, Measured, Prediction, Report, Score
from sartor.models.language_model import Completion, Finish


@dataclass(frozen=True, slots=True)
class SavedPrediction:
    """One prediction as the file has it."""

    id: str
    source: str
    group: str
    tags: tuple[str, ...]
    evidence: tuple[str, ...]
    answerable: bool
    input: tuple[Message, ...]
    targets: tuple[str, ...]
    output: str
    finish: Finish
    passages: tuple[Passage, ...]
    scores: dict[str, float]
    explanations: dict[str, str]
    seconds: float
    prompt_tokens: int
    new_tokens: int
    seed_scores: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SavedReport:
    """The file."""

    format: Literal[1]
    candidate: str
    measured: Measured
    estimates: dict[str, Estimate]
    slices: dict[str, dict[str, Estimate]]
    predictions: tuple[SavedPrediction, ...]
    notes: dict[str, str] = field(default_factory=dict)
    forgotten: Forgotten | None = None
    leaked: str = ""


def save(report: Report, path: Path) -> None:
    """Write the report; atomic."""
    rows = _scores_by_example(report.scores)
    saved = SavedReport(
        format=1,
        candidate=report.candidate,
        measured=report.measured,
        estimates=report.estimates,
        slices=report.slices,
        predictions=tuple(
            _saved(p, rows.get(p.example.id, ()), report.by_seed) for p in report.predictions
        ),
        notes=report.notes,
        forgotten=report.forgotten,
        leaked=report.leaked,
    )
    write_json(path, saved)


def load(path: Path) -> Report:
    """Read a report that `save` wrote."""
    try:
        saved = from_json(SavedReport, path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"there is no report at {path}. Run `sartor run` to make it.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not a report ({_first(error)}). It was changed by hand or is broken: "
            "delete it and run again."
        ) from error
    return Report(
        candidate=saved.candidate,
        measured=saved.measured,
        predictions=tuple(_prediction(row) for row in saved.predictions),
        scores=_scores(saved.predictions, list(saved.estimates)),
        estimates=saved.estimates,
        slices=saved.slices,
        by_seed=_by_seed(saved.predictions),
        notes=saved.notes,
        forgotten=saved.forgotten,
        leaked=saved.leaked,
    )


def _by_seed(rows: Sequence[SavedPrediction]) -> dict[str, dict[str, tuple[float, ...]]]:
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for row in rows:
        for name, values in row.seed_scores.items():
            found.setdefault(name, {})[row.id] = values
    return found


def _scores_by_example(scores: Iterable[Score]) -> dict[str, list[Score]]:
    rows: dict[str, list[Score]] = {}
    for score in scores:
        rows.setdefault(score.example_id, []).append(score)
    return rows


def _saved(
    prediction: Prediction,
    scores: Sequence[Score],
    by_seed: Mapping[str, Mapping[str, tuple[float, ...]]],
) -> SavedPrediction:
    example, completion = prediction.example, prediction.completion
    return SavedPrediction(
        id=example.id,
        source=example.source,
        group=example.group,
        tags=example.tags,
        evidence=example.evidence,
        answerable=example.answerable,
        input=example.input,
        targets=example.targets,
        output=completion.text,
        finish=completion.finish,
        passages=completion.passages,
        scores={score.scorer: score.value for score in scores},
        explanations={score.scorer: score.explanation for score in scores if score.explanation},
        seconds=completion.seconds,
        prompt_tokens=completion.prompt_tokens,
        new_tokens=completion.new_tokens,
        seed_scores={
            name: values[example.id] for name, values in by_seed.items() if example.id in values
        },
    )


def _prediction(row: SavedPrediction) -> Prediction:
    example = Example(
        id=row.id,
        input=row.input,
        targets=row.targets,
        group=row.group,
        source=row.source,
        evidence=row.evidence,
        answerable=row.answerable,
        tags=row.tags,
    )
    completion = Completion(
        text=row.output,
        finish=row.finish,
        prompt_tokens=row.prompt_tokens,
        new_tokens=row.new_tokens,
        seconds=row.seconds,
        passages=row.passages,
    )
    return Prediction(example, completion)


def _scores(rows: Sequence[SavedPrediction], names: Sequence[str]) -> tuple[Score, ...]:
    """All scores, scorer by scorer, as `report` orders them."""
    return tuple(
        Score(row.id, name, row.scores[name], row.explanations.get(name, ""))
        for name in names
        for row in rows
        if name in row.scores
    )


def _first(error: ValidationError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"])
    return f"{where}: {found['msg']}" if where else found["msg"]
