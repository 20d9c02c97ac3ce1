"""Figures of a training, sent where the user keeps them: TensorBoard, MLflow.

Rooms call `record`; where that goes is decided once, by the project file's [tracking]. By default
nowhere. A tracker is one file here and one line in `TRACKERS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

TRACKERS = {
    "tensorboard": "sartor.tracking.tensorboard:TensorBoard",
    "mlflow": "sartor.tracking.mlflow:MLflow",
}
"""Key of [tracking] -> `module:class`, made from (where, the project's folder and name)."""


class Tracker(Protocol):
    """Keeps the figures of candidates, one after another."""

    def __init__(self, where: str, folder: Path, project: str) -> None:
        """ProjectError where nothing can be kept there, before anything is spent."""
        ...

    @staticmethod
    def library() -> Any:
        """What it is kept with; MissingExtraError where that is not there."""
        ...

    def begin(self, candidate: str, settings: Mapping[str, Any]) -> None:
        """The figures that follow are this candidate's."""
        ...

    def record(self, phase: str, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step; `phase` is `train`, the try of a learning rate, or a `stage`."""
        ...

    def finish(self, scores: Mapping[str, float]) -> None:
        """What the candidate scored on the test part; none where it failed."""
        ...


_trackers: ContextVar[tuple[Tracker, ...]] = ContextVar("trackers", default=())
_stage: ContextVar[str] = ContextVar("stage", default="")


def opened(wanted: Mapping[str, str | None], folder: Path, project: str) -> tuple[Tracker, ...]:
    """The trackers of [tracking]; MissingExtraError where a library is not there."""
    named = {name: where for name, where in wanted.items() if where is not None}
    return tuple(_kind(name)(where, folder, project) for name, where in named.items())


def refuse_missing(wanted: Mapping[str, str | None]) -> None:
    """MissingExtraError where a library of [tracking] is not there; nothing is opened."""
    for name, where in wanted.items():
        if where is not None:
            _kind(name).library()


def _kind(name: str) -> type[Tracker]:
    module, _, kind = TRACKERS[name].partition(":")
    found: type[Tracker] = getattr(import_module(module), kind)
    return found


@contextmanager
def recorded_by(trackers: Sequence[Tracker]) -> Iterator[None]:
    """Send all figures inside the block to these."""
    token = _trackers.set(tuple(trackers))
    try:
        yield
    finally:
        _trackers.reset(token)


@contextmanager
def candidate(name: str, settings: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """Figures inside the block are this candidate's; so are the scores put into what is given."""
    scores: dict[str, float] = {}
    with ExitStack() as ended:
        for tracker in _trackers.get():
            tracker.begin(name, settings)
            ended.callback(tracker.finish, scores)
        yield scores


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Figures inside the block are of one of several trainings that a candidate is made of: they
    stand apart from those of the last one."""
    token = _stage.set(f"{_stage.get()} {name}".strip())
    try:
        yield
    finally:
        _stage.reset(token)


def record(phase: str, step: int, figures: Mapping[str, float]) -> None:
    """Send figures of a step."""
    if before := _stage.get():
        phase = before if phase == "train" else f"{before} {phase}"
    for tracker in _trackers.get():
        tracker.record(phase, step, figures)
