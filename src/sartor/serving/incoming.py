"""What holds for any request before it is understood: its host, key, kind and size, its client."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sartor.serving.address import is_local
from sartor.serving.refusals import Refusal

T = TypeVar("T")

MAX_BODY = 1024 * 1024
"""Bytes of a request."""
MAX_DRAINED = 64 * MAX_BODY
"""Bytes of a request too large that are read away, so that the client gets to hear of it."""


def check_key(request: Request, api_key: str | None) -> None:
    """Refuse a request without the server's key."""
    if api_key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Headers arrive as latin-1. Compared in constant time, so that no timing tells the key.
    same = hmac.compare_digest(given.strip().encode("latin-1"), api_key.encode())
    if scheme.lower() != "bearer" or not same:
        raise Refusal(
            401,
            "no API key was given, or a wrong one. "
            "Send the server's as 'Authorization: Bearer KEY'.",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


class LocalNamesOnly:
    """Refuses requests to this machine under another name, which only a web page would make."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else "localhost"
        if is_local(_without_port(host)):
            return await self.app(scope, receive, send)
        refusal = Refusal(
            400,
            f"the request is for the host {host!r}; this server answers to localhost and "
            "127.0.0.1 only. Ask it there, or set SARTOR_API_KEY where it is started.",
            code="invalid_host",
        )
        return await JSONResponse(refusal.body(), refusal.status)(scope, receive, send)


def _without_port(host: str) -> str:
    if host.startswith("["):  # [::1]:8000
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


async def read_json_body(request: Request) -> bytes:
    """The request's body, unless it is too large, or not sent as JSON.

    A web page cannot send JSON to a server that has not allowed it to; anything else it can.
    """
    body = await _read(request)
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(
            415,
            f"the request's Content-Type is {kind or 'missing'!r}. "
            "Send JSON, with 'Content-Type: application/json'.",
            code="unsupported_media_type",
        )
    return body


async def _read(request: Request) -> bytes:
    body, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY:
            body += part
        if size > MAX_DRAINED:
            break
    if size > MAX_BODY:
        raise Refusal(
            413,
            f"the request is larger than {MAX_BODY} bytes. Send a shorter conversation.",
            code="request_too_large",
        )
    return bytes(body)


async def unless_gone(request: Request, answer: Awaitable[T]) -> T | None:
    """What is awaited, or None when the client hangs up first. The body must have been read."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    finally:
        work.cancel()
        gone.cancel()


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
