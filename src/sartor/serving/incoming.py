"""What holds for any request before it is understood: its key, its size, its client still there."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request

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


async def read_body(request: Request) -> bytes:
    """The request's body, unless it is too large."""
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
