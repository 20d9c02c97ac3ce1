"""A request in the engine as the event loop sees it: awaited, timed, given up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from sartor.errors import SartorError
from sartor.models.language_model import Completion
from sartor.serving.engine import Engine, Event, Job
from sartor.serving.refusals import Refusal, for_error
from sartor.serving.requests import ChatRequest

logger = logging.getLogger("sartor.serving")


class PendingAnswer:
    """Waits for the engine's events; every way of not getting an answer is a Refusal."""

    def __init__(self, engine: Engine, request: ChatRequest, timeout_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout_seconds
        self._deadline = self._loop.time() + timeout_seconds
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._engine = engine
        self._job = Job(
            request.conversation,
            request.sampling,
            self._receive,
            stream=request.stream,
            seeded=request.seeded,
        )
        try:
            engine.submit(self._job)
        except SartorError as error:
            raise for_error(error) from error

    async def next(self) -> str | Completion:
        """The next piece, or the whole completion, which is last."""
        try:
            async with asyncio.timeout_at(self._deadline):
                event = await self._events.get()
        except TimeoutError as error:
            self.cancel()
            raise Refusal(
                504,
                f"no answer within {self._timeout:g} seconds. Ask for fewer tokens, or try again.",
                code="timeout",
            ) from error
        if isinstance(event, Exception):
            refusal = for_error(event)
            if refusal.status in (500, 502):
                logger.error("the model failed on a request", exc_info=event)
            raise refusal from event
        return event

    async def rest(self) -> AsyncIterator[str | Completion]:
        """All events up to the completion."""
        while True:
            event = await self.next()
            yield event
            if isinstance(event, Completion):
                return

    async def completion(self) -> Completion:
        """The whole answer."""
        while True:
            event = await self.next()
            if isinstance(event, Completion):
                return event

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._engine.cancel(self._job)

    def _receive(self, event: Event) -> None:
        """Called from the engine's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
