"""Processes that help another one to train, as `torchrun -m sartor run PROJECT` starts them.

Process 0 leads: it alone collects, answers, decides and writes. When a technique comes to train,
`call` gives what it was given to the others, which wait in `follow`; they fit the same technique in
a scratch folder, and meet in the loop (training/processes.py).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sartor.data.files import from_json, to_json
from sartor.data.records import TrainingData
from sartor.errors import ProcessError, SartorError
from sartor.models.language_model import ModelCard
from sartor.named import found
from sartor.progress import say
from sartor.training import processes

BEAT = 5.0
"""Seconds between signs of life of the leader."""
SILENCE = 120.0
"""Seconds without one, after which it is taken to be gone."""

PATIENCE = 60.0
"""Seconds that one which failed waits for the leader to fail at the same."""
GOODBYE = 5.0
"""Seconds that the leader waits for the others to have heard that all is done."""


@dataclass(frozen=True)
class _Call:
    """What a technique was given to fit."""

    technique: tuple[str, str]
    """module:class, and its settings in JSON."""
    course: tuple[str, str] | None
    """The technique around it that says how it is trained, where one does."""
    base: ModelCard
    data: TrainingData


def follows() -> bool:
    """Whether this process was started to help another one."""
    rank, size = processes.launched()
    return size > 1 and rank > 0


@contextmanager
def leading() -> Iterator[None]:
    """Have the other processes, if any were started, ready to help inside the block."""
    if processes.launched()[1] == 1:
        yield
        return
    processes.join()
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(done,), daemon=True)
    beating.start()
    patience = 0.0  # stopped or failed: nobody is waited for
    try:
        yield
        patience = GOODBYE
    finally:
        done.set()
        beating.join()
        _dismiss(patience)


def _dismiss(patience: float) -> None:
    """Let the others go home, and wait so many seconds until they have heard it."""
    with suppress(ProcessError):
        others = processes.team().size - 1
        _asked(lambda store: store.set("sartor/over", "1"))
        until = time.monotonic() + patience
        while _count("sartor/left") < others and time.monotonic() < until:
            time.sleep(0.05)
    processes.leave()


@contextmanager
def called(
    technique: Any, base: ModelCard, data: TrainingData, course: Any = None
) -> Iterator[None]:
    """Have the others fit the same inside the block, in the course that the technique `course`
    gives it if any, and let them know where it fails here; nothing where there are no others, or
    where this is one of them."""
    team = processes.team()
    if team.size == 1 or not team.leads:
        yield
        return
    around = _written(course) if course is not None else None
    told = to_json(_Call(_written(technique), around, base, data))
    number = _store().add("sartor/calls", 1)
    team.tell(told)
    try:
        yield
    except SartorError:
        with suppress(ProcessError):
            _asked(lambda store: store.set(_failed(number), "1"))
        raise


def _failed(number: int) -> str:
    """What is in the store where the leader failed at that call."""
    return f"sartor/failed/{number}"


def follow() -> None:
    """Help until the leader is done; ProcessError where it is gone."""
    processes.join()
    answered, beats, heard = 0, -1, time.monotonic()
    try:
        while not _told("sartor/over"):
            if _count("sartor/calls") > answered:
                answered += 1
                _help(from_json(_Call, processes.team().tell("")), answered)
                heard = time.monotonic()
            if (now := _count("sartor/beats")) != beats:
                beats, heard = now, time.monotonic()
            if time.monotonic() - heard > SILENCE:
                raise ProcessError(
                    f"process 0, which leads, has given no sign of life for {SILENCE:.0f} s. See "
                    "what it said last; start all again, and they go on from there."
                )
            time.sleep(0.2)
        _asked(lambda store: store.add("sartor/left", 1))
    finally:
        processes.leave()


def _help(wanted: _Call, number: int) -> None:
    technique = _made(wanted.technique)
    way = {"course": _made(wanted.course)} if wanted.course else {}
    try:
        with TemporaryDirectory(prefix="sartor-") as scratch:
            technique.fit(wanted.base, wanted.data, Path(scratch), **way)
    except ProcessError:
        raise
    except SartorError as error:
        say(str(error))
        _await_the_same(error, number)


def _await_the_same(error: SartorError, number: int) -> None:
    """Until the leader has failed too; where it does not, ProcessError: it would wait for ever."""
    until = time.monotonic() + PATIENCE
    while not _told(_failed(number)):
        if time.monotonic() > until:
            rank, _ = processes.launched()
            raise ProcessError(
                f"process {rank} cannot train, and process 0 can: {error} Mend that on the machine "
                "of this process; start all again, and they go on from the last look."
            ) from error
        time.sleep(0.2)


def _written(technique: Any) -> tuple[str, str]:
    """As `_made` reads it; without what is inside, which no course asks for."""
    kind = type(technique)
    settings = json.loads(to_json(technique))
    settings.pop("inner", None)
    return f"{kind.__module__}:{kind.__qualname__}", json.dumps(settings)


def _made(written: tuple[str, str]) -> Any:
    named, settings = written
    return from_json(found(named, {}, "technique"), settings)


def _store() -> Any:
    import torch

    return torch.distributed.distributed_c10d._get_default_store()


def _beat(done: threading.Event) -> None:
    while not done.wait(BEAT):
        _store().add("sartor/beats", 1)


def _told(key: str) -> bool:
    return bool(_asked(lambda store: store.check([key])))


def _count(key: str) -> int:
    return int(_asked(lambda store: store.add(key, 0)))


def _asked(question: Any) -> Any:
    try:
        return question(_store())
    except RuntimeError as error:
        raise ProcessError(
            "process 0, which leads, is gone. See what it said last; start all again, and they go "
            "on from there."
        ) from error
