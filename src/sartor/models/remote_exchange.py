"""Requests to a remote model over HTTP: in turn, paid for, timed, and tried again.

Redirects are not followed: the key is for the endpoint alone. What a reply means is
remote_reply.py's business, what is kept of it remote_ledger.py's.
"""

from __future__ import annotations

import json
import random
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import BudgetError, MissingExtraError, PromptTooLongError, RemoteError
from sartor.models import remote_reply
from sartor.models.language_model import Finish
from sartor.models.remote_key import Key
from sartor.models.remote_ledger import Kept, Ledger
from sartor.models.remote_reply import Failure, Reply
from sartor.models.remote_tokens import estimated
from sartor.project import Remote

if TYPE_CHECKING:
    import httpx2

FIRST_WAIT, LONGEST_BACKOFF = 0.5, 60.0
"""Seconds before the second try; each further one waits up to twice as long."""
LONGEST_WAIT = 300.0
"""Seconds; a provider that asks to wait longer is not waited for."""
CONNECTING = 10.0
LARGEST = 16 << 20
"""Bytes of a reply; what is longer is no answer."""
STREAM_END = "[DONE]"


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
    def _client(self) -> httpx2.Client:
        try:
            import httpx2
        except ModuleNotFoundError as error:
            raise MissingExtraError("a remote model", "httpx2", "remote") from error
        patience = min(CONNECTING, self.remote.timeout_seconds)
        client = httpx2.Client(
            timeout=httpx2.Timeout(self.remote.timeout_seconds, connect=patience),
            limits=httpx2.Limits(max_connections=self.remote.concurrency),
            follow_redirects=False,
        )
        weakref.finalize(self, client.close)
        return client

    def close(self) -> None:
        """Break off what is under way."""
        self._client.close()

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
        with self._sent(asked, asked.body) as (response, reserved, began):
            data = b"".join(self._bytes(response, began))
            seconds = time.monotonic() - began
            reply = remote_reply.whole(remote_reply.parsed(data, self._who), self._who)
            return self._settled(asked, reserved, reply, seconds)

    def _streamed(self, asked: Asked) -> Iterator[str | Kept]:
        body = {**asked.body, "stream": True}
        if "stream_options" not in self.remote.omit:
            body["stream_options"] = {"include_usage": True}
        with self._sent(asked, body) as (response, reserved, began):
            text, held, finish = "", "", None
            prompt, new, model = None, None, ""
            for event in self._events(response, began):
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
            yield self._settled(asked, reserved, reply, time.monotonic() - began)

    @contextmanager
    def _sent(
        self, asked: Asked, body: dict[str, Any]
    ) -> Iterator[tuple[httpx2.Response, int, float]]:
        """The response to a request with its head read, what was put aside for it, and when it
        was sent; failures that cost nothing give the money back."""
        import httpx2

        headers = {**self.key.headers(), "Content-Type": "application/json"}
        self._sleep(self.ledger.turn(self._pause(asked)))
        reserved = self._reserved(self.remote.price(asked.most_prompt, asked.new_tokens))
        url, began = f"{self.remote.endpoint}/chat/completions", time.monotonic()
        try:
            with self._client.stream(
                "POST", url, content=json.dumps(body).encode(), headers=headers
            ) as response:
                if response.status_code != 200:
                    data = b"".join(self._bytes(response, began))
                    self.ledger.release(reserved)
                    raise remote_reply.refused(
                        response.status_code, response.headers, data, self._who, self._settings
                    )
                yield response, reserved, began
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            self.ledger.release(reserved)
            found = str(error) or type(error).__name__
            raise Failure(
                RemoteError(
                    f"{self._who} cannot be reached at {self.remote.endpoint}: {found}. Check "
                    f"endpoint in [{self._settings[0]}], the network, and whether it is running."
                ),
                again=True,
            ) from None
        except httpx2.TimeoutException:
            raise self._too_slow() from None
        except httpx2.HTTPError as error:
            found = type(error).__name__
            raise Failure(
                RemoteError(
                    f"{self._who}: the connection broke before the answer was there ({found}). "
                    "Run again: answers that were paid are kept."
                ),
                again=True,
            ) from None
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

    @property
    def _settings(self) -> tuple[str, str, str]:
        return f"remote.{self.name}", self.remote.model, self.remote.api_key_env

    def _too_slow(self) -> Failure:
        return Failure(
            RemoteError(
                f"{self._who} gave no answer in {self.remote.timeout_seconds:g} seconds. Raise "
                f"timeout_seconds in [{self._settings[0]}], or ask for shorter answers."
            ),
            again=True,
        )

    def _pause(self, asked: Asked) -> float:
        """Seconds that this request takes of what the limits allow."""
        requests, tokens = self.remote.requests_per_minute, self.remote.tokens_per_minute
        return max(
            60 / requests if requests else 0.0,
            60 * asked.estimated_tokens / tokens if tokens else 0.0,
        )

    def _bytes(self, response: httpx2.Response, began: float) -> Iterator[bytes]:
        """The body, while it is neither too late nor too large."""
        size = 0
        for data in response.iter_bytes():
            size += len(data)
            if size > LARGEST:
                raise Failure(
                    RemoteError(
                        f"{self._who} sent more than {LARGEST >> 20} MiB for one answer. Check "
                        "endpoint: it does not behave as a chat model's."
                    )
                )
            if time.monotonic() - began > self.remote.timeout_seconds:
                raise self._too_slow()
            yield data

    def _events(self, response: httpx2.Response, began: float) -> Iterator[dict[str, Any]]:
        """The chunks of a stream of server-sent events."""
        rest = b""
        for data in self._bytes(response, began):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                field, _, value = line.strip().partition(b":")
                if field != b"data":
                    continue
                if value.strip() == STREAM_END.encode():
                    return
                yield remote_reply.parsed(value.strip(), self._who)

    def _settled(self, asked: Asked, reserved: int, reply: Reply, seconds: float) -> Kept:
        """What is kept of the answer; priced by the provider's count, or at its most."""
        new = estimated(reply.text) if reply.new_tokens is None else reply.new_tokens
        prompt = asked.prompt_tokens if reply.prompt_tokens is None else reply.prompt_tokens
        price = self.remote.price(prompt, new)
        if reply.prompt_tokens is None:
            price = self.remote.price(asked.most_prompt, asked.new_tokens)
        text, model = self.key.hide(reply.text), self.key.hide_parts(reply.model)
        finish: Finish = reply.finish
        kept = Kept(text, finish, prompt, new, seconds, model)
        self.ledger.settle(reserved, price, asked.request, kept)
        return kept
