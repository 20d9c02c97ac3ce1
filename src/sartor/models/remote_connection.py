"""One request to an endpoint over HTTP, and its reply while that is neither too late nor too large.

Redirects are not followed: the key is for the endpoint alone. When to send, and what it costs, is
remote_exchange.py's business.
"""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sartor.errors import MissingExtraError, RemoteError
from sartor.models.remote_failure import Failure, refused
from sartor.models.remote_key import Key
from sartor.models.remote_reply import parsed
from sartor.project import Remote

if TYPE_CHECKING:
    import httpx2

CONNECTING = 10.0
"""Seconds until there is a connection."""
LARGEST = 16 << 20
"""Bytes of a reply; what is longer is no answer."""
STREAM_END = b"[DONE]"


class Connection:
    """Posts to one endpoint; threads may share it."""

    def __init__(self, name: str, remote: Remote, key: Key) -> None:
        self.who = f"remote model {name!r}"
        self.table = f"remote.{name}"
        self.remote = remote
        self._headers = {**key.headers(), "Content-Type": "application/json"}
        self._client = _client(remote)
        weakref.finalize(self, self._client.close)

    def close(self) -> None:
        """Break off what is under way."""
        self._client.close()

    @contextmanager
    def post(self, body: dict[str, Any]) -> Iterator[Incoming]:
        """The reply to a request, its head read; Failure where it is none, or breaks off."""
        import httpx2

        url, began = f"{self.remote.endpoint}/chat/completions", time.monotonic()
        content = json.dumps(body).encode()
        try:
            with self._client.stream("POST", url, content=content, headers=self._headers) as found:
                reply = Incoming(self, found, began)
                if found.status_code != 200:
                    settings = (self.table, self.remote.model, self.remote.api_key_env)
                    raise refused(
                        found.status_code, found.headers, reply.whole(), self.who, settings
                    )
                yield reply
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            raise self._unreachable(str(error) or type(error).__name__) from None
        except httpx2.TimeoutException:
            raise self.too_slow() from None
        except httpx2.HTTPError as error:
            raise self._broken(type(error).__name__) from None

    def too_slow(self) -> Failure:
        return Failure(
            RemoteError(
                f"{self.who} gave no answer in {self.remote.timeout_seconds:g} seconds. Raise "
                f"timeout_seconds in [{self.table}], or ask for shorter answers."
            ),
            again=True,
        )

    def _unreachable(self, found: str) -> Failure:
        return Failure(
            RemoteError(
                f"{self.who} cannot be reached at {self.remote.endpoint}: {found}. Check "
                f"endpoint in [{self.table}], the network, and whether it is running."
            ),
            again=True,
            free=True,
        )

    def _broken(self, found: str) -> Failure:
        return Failure(
            RemoteError(
                f"{self.who}: the connection broke before the answer was there ({found}). "
                "Run again: answers that were paid are kept."
            ),
            again=True,
        )


class Incoming:
    """A reply while it comes."""

    def __init__(self, connection: Connection, response: httpx2.Response, began: float) -> None:
        self._connection = connection
        self._response = response
        self._began = began

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return time.monotonic() - self._began

    def whole(self) -> bytes:
        """All of its body."""
        return b"".join(self._bytes())

    def events(self) -> Iterator[dict[str, Any]]:
        """The chunks of a stream of server-sent events."""
        rest = b""
        for data in self._bytes():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                field, _, value = line.strip().partition(b":")
                if field != b"data":
                    continue
                if value.strip() == STREAM_END:
                    return
                yield parsed(value.strip(), self._connection.who)

    def _bytes(self) -> Iterator[bytes]:
        size = 0
        for data in self._response.iter_bytes():
            size += len(data)
            if size > LARGEST:
                raise Failure(
                    RemoteError(
                        f"{self._connection.who} sent more than {LARGEST >> 20} MiB for one "
                        "answer. Check endpoint: it does not behave as a chat model's."
                    )
                )
            if self.seconds > self._connection.remote.timeout_seconds:
                raise self._connection.too_slow()
            yield data


def _client(remote: Remote) -> httpx2.Client:
    try:
        import httpx2
    except ModuleNotFoundError as error:
        raise MissingExtraError("a remote model", "httpx2", "remote") from error
    patience = min(CONNECTING, remote.timeout_seconds)
    return httpx2.Client(
        timeout=httpx2.Timeout(remote.timeout_seconds, connect=patience),
        limits=httpx2.Limits(max_connections=remote.concurrency),
        follow_redirects=False,
    )
