"""A candidate's report: its answers, their scores, and the estimates.

`save` and `load` keep it as one JSON file (saved_report.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from sartor.errors import DataError, ModelError, SettingError
from sartor.evaluation.corpus import corpus_estimates
from sartor.evaluation.estimate import estimate_of, slice_estimates
from sartor.evaluation.lacking import Lacking
from sartor.evaluation.records import Measured, Prediction, Report, Score
from sartor.evaluation.saved_report import load, save
from sartor.evaluation.scorer import Noted, Scorer
from sartor.evaluation.scorers.own import blamed_on, is_own

__all__ = ["load", "report", "save"]


def report(
    candidate: str,
    measured: Measured,
    predictions: Sequence[Prediction],
    scorers: Sequence[Scorer],
    seed: int = 0,
    lacking: Lacking | None = None,
) -> Report:
    """Score the predictions and sum them up. A scorer that applies to none has no estimate, nor has
    one that `lacking` spares."""
    if not predictions:
        raise DataError(f"{candidate}: there are no predictions to report on. Give it examples.")
    examples = [prediction.example for prediction in predictions]
    judged = {scorer.name: _judged(scorer, predictions, lacking) for scorer in scorers}
    scores = {name: scored for name, (scored, _) in judged.items()}
    values = {name: _by_example(row) for name, row in scores.items()}
    binary = {scorer.name: scorer.binary for scorer in scorers}
    return Report(
        candidate=candidate,
        measured=measured,
        predictions=tuple(predictions),
        scores=tuple(score for row in scores.values() for score in row),
        estimates={
            name: estimate_of(examples, scored, binary[name], seed)
            for name, scored in values.items()
            if scored
        }
        | corpus_estimates(scorers, [predictions], seed),
        slices=slice_estimates(examples, values, binary, seed),
        notes={name: note for name, (_, note) in judged.items() if note},
    )


def _judged(
    scorer: Scorer, predictions: Sequence[Prediction], lacking: Lacking | None
) -> tuple[list[Score], str]:
    """Its scores, and what must be shown with them."""
    if lacking and scorer.name in lacking.notes:
        return [], lacking.notes[scorer.name]
    try:
        scores = _scored(scorer, predictions)
        return scores, _note(scorer, predictions, scores)
    except ModelError as error:
        if lacking and lacking.spares(scorer, error):
            return [], lacking.notes[scorer.name]
        raise


def _note(scorer: Scorer, predictions: Sequence[Prediction], scores: Sequence[Score]) -> str:
    if not isinstance(scorer, Noted):
        return ""
    with _told_of(scorer):
        return str(scorer.note(predictions, scores) or "")


@contextmanager
def _told_of(scorer: Scorer) -> Iterator[None]:
    """What goes wrong inside is the scorer's fault, and not that of the candidate's model."""
    blame = blamed_on(f"scorer {scorer.name} failed") if is_own(scorer) else nullcontext()
    try:
        with blame:
            yield
    except ModelError as error:
        raise ModelError(f"scorer {scorer.name}: {error}") from error


def _scored(scorer: Scorer, predictions: Sequence[Prediction]) -> list[Score]:
    """The scorer's scores, once they are known to be what scores must be."""
    with _told_of(scorer):
        scores = scorer.score(predictions)
    if not isinstance(scores, list) or not all(isinstance(score, Score) for score in scores):
        raise SettingError(
            f"scorer {scorer.name} returned {type(scores).__name__}; expected a list of Score, one "
            "for each prediction that it applies to. Mend its `score`."
        )
    known = {prediction.example.id for prediction in predictions}
    for score in scores:
        if not 0 <= score.value <= 1 or (scorer.binary and score.value not in (0, 1)):
            expected = "0 or 1" if scorer.binary else "0 to 1"
            raise SettingError(
                f"scorer {scorer.name}: {score.example_id!r} got {score.value}; expected "
                f"{expected}. Mend what it returns."
            )
        if score.scorer != scorer.name or score.example_id not in known:
            raise SettingError(
                f"scorer {scorer.name}: a score named {score.scorer!r} for {score.example_id!r}; "
                "expected its own name, and at most one score for each example it was given. Mend "
                "its `score`."
            )
        known.remove(score.example_id)
    return scores


def _by_example(scores: Sequence[Score]) -> dict[str, float]:
    return {score.example_id: score.value for score in scores}
