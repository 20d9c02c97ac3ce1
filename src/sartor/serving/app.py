"""The web application: OpenAI's chat routes over an engine.

This file needs FastAPI; server.py imports it only when a model is to be served.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sartor.models.language_model import Completion, Sampling
from sartor.serving.engine import Engine
from sartor.serving.incoming import check_key, read_json_body, unless_gone
from sartor.serving.interactions import Interaction, InteractionLog
from sartor.serving.pending import PendingAnswer
from sartor.serving.refusals import Refusal
from sartor.serving.requests import ChatRequest, read_chat_request
from sartor.serving.responses import END_OF_STREAM, Envelope, event, model_json

CLIENT_GONE = 499
"""nginx's status for a client that hung up; nobody sees it."""


@dataclass(frozen=True)
class Service:
    """What is served, and how."""

    engine: Engine
    name: str
    release: int
    sampling: Sampling
    """What a request leaves open."""
    timeout_seconds: float
    api_key: str | None
    log: InteractionLog | None
    created: int
    """Unix seconds."""


@dataclass(frozen=True)
class Exchange:
    """One request under way."""

    service: Service
    request: ChatRequest
    pending: PendingAnswer
    id: str
    began: float
    """Seconds of the monotonic clock."""
    at: str

    @property
    def envelope(self) -> Envelope:
        """The response's head."""
        unix = int(datetime.fromisoformat(self.at).timestamp())
        return Envelope(self.id, unix, self.service.name, self.service.release)

    async def record(self, completion: Completion) -> None:
        """Log it, off the event loop, before the client can give feedback on it."""
        if self.service.log is None:
            return
        interaction = Interaction(
            id=self.id,
            at=self.at,
            release=self.service.release,
            input=self.request.conversation,
            completion=completion.text,
            finish=completion.finish,
            document_ids=tuple(passage.document_id for passage in completion.passages),
            seconds=time.monotonic() - self.began,
            prompt_tokens=completion.prompt_tokens,
            new_tokens=completion.new_tokens,
        )
        await asyncio.to_thread(self.service.log.append, interaction)


def build(service: Service) -> FastAPI:
    """The application. Interactive docs are off: they load scripts from elsewhere."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.engine.close)
        if service.log is not None:
            service.log.close()

    app = FastAPI(title="sartor", lifespan=lifespan, openapi_url=None)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failed)
    app.include_router(_openai_routes(service))

    @app.get("/health")
    async def health() -> JSONResponse:
        well = service.engine.is_working()
        state = {
            "status": "ok" if well else "failed",
            "model": service.name,
            "release": service.release,
            "waiting": service.engine.waiting(),
        }
        return JSONResponse(state, status_code=200 if well else 503)

    return app


def _openai_routes(service: Service) -> APIRouter:
    async def authorize(request: Request) -> None:
        check_key(request, service.api_key)

    router = APIRouter(prefix="/v1", dependencies=[Depends(authorize)])
    served = model_json(service.name, service.created)

    @router.get("/models")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [served]})

    @router.get("/models/{name:path}")
    async def model(name: str) -> JSONResponse:
        if name != service.name:
            raise Refusal(
                404,
                f"there is no model {name!r} here; this server has {service.name!r}.",
                param="model",
                code="model_not_found",
            )
        return JSONResponse(served)

    @router.post("/chat/completions")
    async def chat(request: Request) -> Response:
        return await _chat(service, request)

    return router


async def _chat(service: Service, request: Request) -> Response:
    began, at = time.monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds")
    asked = read_chat_request(await read_json_body(request), service.name, service.sampling)
    pending = PendingAnswer(service.engine, asked, service.timeout_seconds)
    exchange = Exchange(service, asked, pending, f"chatcmpl-{uuid4().hex}", began, at)
    first: Awaitable[str | Completion] = pending.next() if asked.stream else pending.completion()
    result = await unless_gone(request, first)
    if result is None:
        pending.cancel()
        return Response(status_code=CLIENT_GONE)
    if asked.stream:
        # The first piece is here, so whatever could be refused has been.
        chunks = _chunks(exchange, result)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(chunks, media_type="text/event-stream", headers=headers)
    assert isinstance(result, Completion)
    await exchange.record(result)
    return JSONResponse(exchange.envelope.whole(result))


async def _chunks(exchange: Exchange, first: str | Completion) -> AsyncIterator[str]:
    """The server-sent events of a stream; a failure in its midst is an event too."""
    envelope, latest = exchange.envelope, first
    try:
        yield event(envelope.opening())
        while not isinstance(latest, Completion):
            yield event(envelope.piece(latest))
            latest = await exchange.pending.next()
        await exchange.record(latest)
        yield event(envelope.closing(latest))
        if exchange.request.include_usage:
            yield event(envelope.usage(latest))
        yield END_OF_STREAM
    except Refusal as refusal:
        yield event(refusal.body())
    finally:
        exchange.pending.cancel()  # the client may have hung up


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return JSONResponse(refusal.body(), refusal.status, headers=refusal.headers)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = Refusal(
        error.status_code,
        f"{request.method} {request.url.path}: {error.detail}. This server has "
        "POST /v1/chat/completions, GET /v1/models and GET /health.",
        code="unknown_url",
    )
    return JSONResponse(refusal.body(), refusal.status, headers=error.headers)


async def _gone(_: Request, __: Exception) -> Response:
    """The client hung up while it was sending."""
    return Response(status_code=CLIENT_GONE)


async def _failed(_: Request, __: Exception) -> Response:
    """A fault of ours; Starlette raises it on, so that the server logs it."""
    refusal = Refusal(500, "the server failed on this request; its log says why.")
    return JSONResponse(refusal.body(), refusal.status)
