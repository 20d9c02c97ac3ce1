"""Answers of a remote model: asked for in turn, paid for, and tried again.

How a request goes over the network is remote_connection.py's business, what a reply means
remote_reply.py's, what is kept of it remote_ledger.py's.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sartor.errors import BudgetError, PromptTooLongError, RemoteError
from sartor.models import remote_reply
from sartor.models.remote_connection import Connection, Incoming
from sartor.models.remote_failure import Failure
from sartor.models.remote_key import Key
from sartor.models.remote_ledger import Kept, Ledger
from sartor.models.remote_reply import Reply
from sartor.models.remote_tokens import estimated
from sartor.project import Remote

FIRST_WAIT, LONGEST_BACKOFF = 0.5, 60.0
"""Seconds before the second try; each further one waits up to twice as long."""
LONGEST_WAIT = 300.0
"""Seconds; a provider that asks to wait longer is not waited for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what it can come to."""

    request: str
    """Digest of the endpoint and the body."""
    body: dict[str, Any]
    estimated_tokens: int
    """Of the prompt and the longest answer, for the pace."""
    most_prompt: int
    """Tokens that the prompt cannot be above, for the budget."""
    prompt_tokens: int
    """Estimated, where the endpoint does not tell."""
    new_tokens: int
    """The most that are asked for."""


class Exchange:
    """Sends requests to one endpoint; threads may share it."""

    def __init__(self, name: str, remote: Remote, folder: Path) -> None:
        self.name = name
        self.remote = remote
        self.ledger = Ledger(folder)
        self.stopped = threading.Event()
        """Set where nothing more is to be sent, nor waited for."""
        self._who = f"remote model {name!r}"
        self._under_way = 0
        self._changed = threading.Condition()

    @cached_property
    def key(self) -> Key:
        return Key.of(self.name, self.remote)

    @cached_property
    def _connection(self) -> Connection:
        return Connection(self.name, self.remote, self.key)

    def close(self) -> None:
        """Break off what is under way."""
        self._connection.close()

    def send(self, asked: Asked) -> Kept:
        """The answer, kept and paid; RemoteError or PromptTooLongError where there is none."""
        for attempt in range(self.remote.retries + 1):
            try:
                return self._attempt(asked)
            except Failure as found:
                failure = found  # raised outside: a context would keep the provider's own words
            if failure.held_back:
                return self._held_back(asked)
            self._wait_or_raise(failure, attempt)
        raise AssertionError("the last attempt returns or raises")

    def stream(self, asked: Asked) -> Iterator[str | Kept]:
        """Pieces of the answer, then all of it; tried again only before the first piece."""
        for attempt in range(self.remote.retries + 1):
            begun = False
            try:
                for piece in self._streamed(asked):
                    begun = True
                    yield piece
            except Failure as found:
                failure = found
            else:
                return
            if failure.held_back:
                yield self._held_back(asked)
                return
            if begun:
                raise self._told(failure.error)
            self._wait_or_raise(failure, attempt)

    def _held_back(self, asked: Asked) -> Kept:
        """No answer, at no price: the provider's filter took the request itself."""
        kept = Kept("", "content_filter", asked.prompt_tokens, 0, 0.0)
        self.ledger.keep(asked.request, kept)
        return kept

    def _wait_or_raise(self, failure: Failure, attempt: int) -> None:
        """Wait for the next attempt, where there is one that may help."""
        tries = f" It was tried {attempt + 1} times." if attempt else ""
        if not failure.again or attempt == self.remote.retries:
            raise self._told(failure.error, tries)
        if failure.after is not None and failure.after > LONGEST_WAIT:
            asks = f" It asks to wait {failure.after:,.0f} seconds."
            raise self._told(failure.error, asks)
        if failure.after is not None:
            self.ledger.hold_back(failure.after)
        upto = min(LONGEST_BACKOFF, FIRST_WAIT * 2**attempt)
        jitter = random.uniform(upto / 2, upto)  # so that threads do not come back all at once
        self._sleep(jitter if failure.after is None else failure.after + jitter / 10)

    def _told(
        self, error: RemoteError | PromptTooLongError, more: str = ""
    ) -> RemoteError | PromptTooLongError:
        return type(error)(self.key.hide_parts(str(error)) + more)

    def _sleep(self, seconds: float) -> None:
        if self.stopped.wait(max(0.0, seconds)):
            raise RemoteError(f"{self._who}: the request was given up.")

    def _attempt(self, asked: Asked) -> Kept:
        with self._sent(asked, asked.body) as (incoming, reserved):
            data = incoming.whole()
            seconds = incoming.seconds
            reply = remote_reply.whole(remote_reply.parsed(data, self._who), self._who)
            return self._settled(asked, reserved, reply, seconds)

    def _streamed(self, asked: Asked) -> Iterator[str | Kept]:
        body = {**asked.body, "stream": True}
        if "stream_options" not in self.remote.omit:
            body["stream_options"] = {"include_usage": True}
        with self._sent(asked, body) as (incoming, reserved):
            text, held, finish = "", "", None
            prompt, new, model = None, None, ""
            for event in incoming.events():
                found, ended = remote_reply.piece(event, self._who)
                finish = ended or finish
                told = remote_reply.usage(event)
                prompt, new = told if told[0] is not None else (prompt, new)
                model = model or str(event.get("model") or "")
                held = self.key.hide(held + found)
                ready = len(held) - self.key.unfinished(held)
                piece, held = held[:ready], held[ready:]
                text += piece
                if piece:
                    yield piece
            if held:
                text += held
                yield held
            if finish is None:
                raise Failure(
                    RemoteError(f"{self._who} broke off its answer. Try again later."), again=True
                )
            reply = Reply(text, finish, prompt, new, model)
            yield self._settled(asked, reserved, reply, incoming.seconds)

    @contextmanager
    def _sent(self, asked: Asked, body: dict[str, Any]) -> Iterator[tuple[Incoming, int]]:
        """The reply to a request, when it is its turn, and what was put aside for it; failures
        that cost nothing give the money back."""
        connection = self._connection  # without a key nothing is put aside
        self._sleep(self.ledger.turn(self._pause(asked)))
        while self.ledger.is_held_back():
            self._sleep(self.ledger.turn(self._pause(asked)))
        reserved = self._reserved(self.remote.price(asked.most_prompt, asked.new_tokens))
        try:
            with connection.post(body) as incoming:
                yield incoming, reserved
        except Failure as failure:
            if failure.free:
                self.ledger.release(reserved)
            raise
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _reserved(self, most: float) -> int:
        """Money put aside; where none is left, once those under way are known to leave none."""
        while True:
            with self._changed:
                try:
                    reserved = self.ledger.reserve(most, self.remote.budget, self.name)
                except BudgetError:
                    if not self._under_way:
                        raise
                else:
                    self._under_way += 1
                    return reserved
                self._changed.wait(1.0)
            self._sleep(0)  # unless nothing more is to be sent

    def _pause(self, asked: Asked) -> float:
        """Seconds that this request takes of what the limits allow."""
        requests, tokens = self.remote.requests_per_minute, self.remote.tokens_per_minute
        return max(
            60 / requests if requests else 0.0,
            60 * asked.estimated_tokens / tokens if tokens else 0.0,
        )

    def _settled(self, asked: Asked, reserved: int, reply: Reply, seconds: float) -> Kept:
        """What is kept of the answer; priced by the provider's count, or at its most."""
        new = estimated(reply.text) if reply.new_tokens is None else reply.new_tokens
        prompt = asked.prompt_tokens if reply.prompt_tokens is None else reply.prompt_tokens
        price = self.remote.price(prompt, new)
        if reply.prompt_tokens is None:
            price = self.remote.price(asked.most_prompt, asked.new_tokens)
        text, model = self.key.hide(reply.text), self.key.hide_parts(reply.model)
        kept = Kept(text, reply.finish, prompt, new, seconds, model)
        self.ledger.settle(reserved, price, asked.request, kept)
        return kept
