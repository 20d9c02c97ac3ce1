"""One thread owns the model; requests queue before it and are answered in batches.

Models are not thread-safe, and a batch costs little more than one answer, so whatever is waiting
and wants the same sampling goes together. Requests whose answer would then depend on their company
(sampled with the client's own seed) go alone, and so do streams. Knows nothing of HTTP.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sartor.data.records import Conversation
from sartor.errors import ServingError
from sartor.models.language_model import (
    Completion,
    LanguageModel,
    Sampling,
    StreamingLanguageModel,
)

Event = str | Completion | Exception
"""A piece of a streamed answer, the whole answer (always last), or why there is none."""


class QueueFullError(ServingError):
    """More requests are waiting than the server takes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on at once."""

    max_batch: int = 16
    """Requests answered together; more raises throughput and the memory needed."""
    gather_seconds: float = 0.005
    """How long the first of a batch waits for company."""
    max_waiting: int = 128
    """Requests in the queue; beyond it they are turned away."""
    timeout_seconds: float = 300.0
    """From arrival to the last word of the answer, waiting included."""

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_waiting", "timeout_seconds"):
            if getattr(self, name) <= 0:
                raise ServingError(f"{name} is {getattr(self, name)}; it must be above 0.")


@dataclass(eq=False, slots=True)
class Job:
    """A request in the engine."""

    conversation: Conversation
    sampling: Sampling
    deliver: Callable[[Event], None]
    """Called from the engine's thread; must neither wait nor raise."""
    stream: bool = False
    seeded: bool = True
    """Whether the seed was asked for, so that the same request must get the same answer."""
    cancelled: bool = field(default=False, init=False)

    def company(self) -> Sampling | None:
        """What jobs of one batch have in common; None for one that goes alone."""
        if self.stream or (self.seeded and self.sampling.temperature > 0):
            return None
        return replace(self.sampling, seed=0)


class Engine:
    """Answers jobs, oldest first. Its thread starts with the first one and ends with `close`."""

    def __init__(self, model: LanguageModel, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._worker: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Queue a job; its events come through `job.deliver`."""
        with self._changed:
            if self._closed:
                raise ServingError("the server is shutting down.")
            if len(self._waiting) >= self._limits.max_waiting:
                raise QueueFullError(
                    f"{len(self._waiting)} requests are waiting already, as many as are taken. "
                    "Try again in a moment."
                )
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
                self._worker.start()
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Deliver nothing more: out of the queue, or stopped at a stream's next piece."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)

    def waiting(self) -> int:
        """Jobs in the queue, those under way not counted."""
        return len(self._waiting)

    def is_working(self) -> bool:
        """Whether jobs are taken and answered."""
        return not self._closed and (self._worker is None or self._worker.is_alive())

    def close(self, patience: float = 5.0) -> None:
        """Turn away what is waiting, and give what is under way `patience` seconds to end."""
        with self._changed:
            self._closed = True
            turned_away = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        for job in turned_away:
            job.deliver(ServingError("the server is shutting down."))
        if self._worker is not None:
            self._worker.join(patience)

    def _work(self) -> None:
        while batch := self._next_batch():
            if batch[0].stream and isinstance(self._model, StreamingLanguageModel):
                self._stream(self._model, batch[0])
            else:
                self._generate(batch)

    def _next_batch(self) -> list[Job]:
        """The oldest job and those that may share its batch; empty when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._waiting and self._waiting[0].company() is not None:
                    self._gather()
                if self._closed:
                    return []
                if self._waiting:  # the only one may have been cancelled meanwhile
                    return self._take()

    def _gather(self) -> None:
        """Wait a little for a batch to fill."""
        deadline = time.monotonic() + self._limits.gather_seconds
        while not self._closed and len(self._waiting) < self._limits.max_batch:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _take(self) -> list[Job]:
        head = self._waiting[0]
        company = head.company()
        alike = [job for job in self._waiting if job.company() == company]
        batch = [head] if company is None else alike[: self._limits.max_batch]
        for job in batch:
            self._waiting.remove(job)
        return batch

    def _generate(self, batch: list[Job]) -> None:
        try:
            completions = self._answers(batch)
        except Exception as error:  # the model's, whatever it is, goes to whoever asked
            if len(batch) == 1:
                _deliver(batch[0], error)
                return
            for job in batch:  # one bad request must not fail its neighbours
                if not job.cancelled:
                    self._generate([job])
            return
        for job, completion in zip(batch, completions, strict=True):
            if job.stream and completion.text:
                _deliver(job, completion.text)
            _deliver(job, completion)

    def _answers(self, batch: list[Job]) -> list[Completion]:
        conversations = [job.conversation for job in batch]
        completions = self._model.generate(conversations, batch[0].sampling)
        if len(completions) != len(batch):
            raise ServingError(
                f"the model gave {len(completions)} answers to {len(batch)} requests."
            )
        return completions

    def _stream(self, model: StreamingLanguageModel, job: Job) -> None:
        event: Event | None = None
        try:
            for event in model.stream(job.conversation, job.sampling):
                if job.cancelled:
                    return
                if self._closed:
                    raise ServingError("the server is shutting down.")
                _deliver(job, event)
            if not isinstance(event, Completion):
                raise ServingError("the model's stream ended without a completion.")
        except Exception as error:  # as in _generate
            _deliver(job, error)


def _deliver(job: Job, event: Event) -> None:
    if not job.cancelled:
        job.deliver(event)
