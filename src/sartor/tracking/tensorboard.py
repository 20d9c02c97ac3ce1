"""TensorBoard's event files: a run for each candidate, and for each learning rate it tried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sartor.errors import MissingExtraError


class TensorBoard:
    """Writes below a folder, relative to the project: `tensorboard --logdir FOLDER` shows it."""

    def __init__(self, where: str, folder: Path, project: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "[tracking] tensorboard", "tensorboard", "tensorboard"
            ) from error
        self._new = SummaryWriter
        self.root = folder / Path(where).expanduser()
        self.candidate = ""
        self.settings: Mapping[str, Any] = {}
        self._writers: dict[str, Any] = {}

    def begin(self, candidate: str, settings: Mapping[str, Any]) -> None:
        """Its figures go to a folder of its name."""
        self.candidate, self.settings = candidate, settings

    def record(self, phase: str, step: int, figures: Mapping[str, float]) -> None:
        """As scalars of their names."""
        writer = self._writer(phase, step)
        for name, value in figures.items():
            writer.add_scalar(name, value, step)

    def finish(self, scores: Mapping[str, float]) -> None:
        """Scores stand beside the curves of the whole training, as `test/<scorer>`."""
        if scores:
            self.record("train", 0, {f"test/{name}": value for name, value in scores.items()})
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

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
