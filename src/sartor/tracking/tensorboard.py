"""TensorBoard's event files: a run for each candidate, and for each learning rate it tried."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sartor.errors import MissingExtraError, ProjectError
from sartor.progress import say


class TensorBoard:
    """Writes below a folder, relative to the project: `tensorboard --logdir FOLDER` shows it."""

    def __init__(self, where: str, folder: Path, project: str) -> None:
        self.library()
        self.root = folder / Path(where).expanduser()
        self.candidate = ""
        self.settings: Mapping[str, Any] = {}
        self._files: dict[str, EventFile] = {}
        self._lost = False
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root, buffering=0) as probe:
                probe.write(b" ")
        except OSError as error:
            raise ProjectError(
                f"[tracking] tensorboard is {where!r}, and no figures can be kept there: "
                f"{error.filename or self.root}: {error.strerror}. Give a folder you may write to."
            ) from error

    @staticmethod
    def library() -> Any:
        """What makes the content of event files; MissingExtraError where it is not there."""
        try:
            from torch.utils.tensorboard import summary
        except ImportError as error:
            raise MissingExtraError(
                "[tracking] tensorboard", "tensorboard", "tensorboard"
            ) from error
        return summary

    def begin(self, candidate: str, settings: Mapping[str, Any]) -> None:
        """Its figures go to a folder of its name."""
        self.candidate, self.settings = candidate, settings

    def record(self, phase: str, step: int, figures: Mapping[str, float]) -> None:
        """As scalars of their names; none any more once some could not be written."""
        if not self._lost:
            self._told(lambda: self._file(phase, step).write(step, figures))

    def finish(self, scores: Mapping[str, float]) -> None:
        """Scores stand beside the curves of the whole training, as `test/<scorer>`."""
        if scores:
            self.record("train", 0, {f"test/{name}": value for name, value in scores.items()})
        files, self._files = self._files, {}
        for file in files.values():
            self._told(file.close)

    def _told(self, write: Callable[[], object]) -> None:
        """Training does not end because a disk is full: that is said, once."""
        try:
            write()
        except OSError as error:
            if not self._lost:
                say(
                    f"tensorboard: {self.root} takes no more figures ({error.strerror or error}); "
                    "the run goes on without it"
                )
            self._lost = True

    def _file(self, phase: str, step: int) -> EventFile:
        """What a killed sitting wrote from this step on is hidden by what is written now."""
        if phase not in self._files:
            folder = self.root / self.candidate
            folder = folder if phase == "train" else folder / phase
            self._files[phase] = file = EventFile(folder)
            file.begin(step, self.settings)
        return self._files[phase]


class EventFile:
    """A file of events, written where it is called.

    PyTorch's SummaryWriter writes in a thread, which prints a traceback where the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard knows them by this beginning, and reads them in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("xb"))

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        """What TensorBoard expects first; figures of earlier files from `step` on are void."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._add(file_version="brain.Event:2")
        if step:
            self._add(step=step, session_log=SessionLog(status=SessionLog.START))
        shown = json.dumps(settings, indent=2, ensure_ascii=False)
        code = "\n".join(f"    {line}" for line in shown.split("\n"))
        self._add(summary=TensorBoard.library().text("settings", code))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """They can be seen at once."""
        summary = TensorBoard.library()
        for name, value in figures.items():
            self._add(step=step, summary=summary.scalar(name, value))
        self._records.flush()

    def close(self) -> None:
        self._records.close()

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
