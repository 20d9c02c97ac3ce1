"""TensorBoard's event files: a run for each candidate, and for each learning rate it tried."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sartor.errors import MissingExtraError, ProjectError
from sartor.progress import say


class TensorBoard:
    """Writes below a folder, relative to the project: `tensorboard --logdir FOLDER` shows it."""

    def __init__(self, where: str, folder: Path, project: str) -> None:
        self._new = self.library()
        self.root = folder / Path(where).expanduser()
        self.candidate = ""
        self.settings: Mapping[str, Any] = {}
        self._writers: dict[str, Any] = {}
        self._lost = False
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProjectError(
                f"[tracking] tensorboard is {where!r}, and no figures can be kept there: "
                f"{error.filename}: {error.strerror}. Give a folder."
            ) from error

    @staticmethod
    def library() -> Any:
        """What writes event files; MissingExtraError where it is not there."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "[tracking] tensorboard", "tensorboard", "tensorboard"
            ) from error
        return SummaryWriter

    def begin(self, candidate: str, settings: Mapping[str, Any]) -> None:
        """Its figures go to a folder of its name."""
        self.candidate, self.settings = candidate, settings

    def record(self, phase: str, step: int, figures: Mapping[str, float]) -> None:
        """As scalars of their names."""

        def write() -> None:
            writer = self._writer(phase, step)
            for name, value in figures.items():
                writer.add_scalar(name, value, step)

        self._written(write)

    def finish(self, scores: Mapping[str, float]) -> None:
        """Scores stand beside the curves of the whole training, as `test/<scorer>`."""
        if scores:
            self.record("train", 0, {f"test/{name}": value for name, value in scores.items()})
        writers, self._writers = self._writers, {}
        for writer in writers.values():
            self._written(writer.close)

    def _written(self, write: Callable[[], object]) -> None:
        """Training does not end because a disk is full: that is said, once."""
        if self._lost:
            return
        try:
            write()
        except OSError as error:
            self._lost = True
            say(
                f"tensorboard: {self.root} takes no more figures ({error.strerror or error}); the "
                "run goes on without it"
            )

    def _writer(self, phase: str, step: int) -> Any:
        """What a killed sitting wrote from this step on is hidden by what is written now."""
        if phase not in self._writers:
            folder = self.root / self.candidate
            folder = folder if phase == "train" else folder / phase
            writer = self._new(str(folder), purge_step=step or None)
            shown = json.dumps(self.settings, indent=2, ensure_ascii=False)
            writer.add_text("settings", "\n".join(f"    {line}" for line in shown.split("\n")))
            self._writers[phase] = writer
        return self._writers[phase]
