"""Serve a model to OpenAI clients, from this process.

    serve(model, "handbook")       # http://127.0.0.1:8000/v1, until Ctrl-C

Any language model will do: bare, prompted, RAG, trained, or a stack of these. Which release it
is, and how it is loaded, is for others.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.errors import MissingExtraError, ServingError
from sartor.models.language_model import LanguageModel, Sampling
from sartor.progress import say
from sartor.serving.address import listen, refuse_blank, url
from sartor.serving.engine import Engine, Limits
from sartor.serving.interactions import InteractionLog

if TYPE_CHECKING:
    from fastapi import FastAPI

EVALUATED = Sampling()
"""What a request leaves open is answered as the model was evaluated: greedy."""
LIMITS = Limits()


def create_app(
    model: LanguageModel,
    name: str,
    *,
    api_key: str | None = None,
    log: Path | None = None,
    release: int = 0,
    sampling: Sampling = EVALUATED,
    limits: Limits = LIMITS,
) -> FastAPI:
    """The web application that answers as `name`.

    `log` is the file interactions are added to (None: they are not kept); `release` is the version
    they are logged under; `sampling` is what a request leaves open.
    """
    try:
        from sartor.serving.app import Service, build
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    if not name:
        raise ServingError("the model's name is empty; clients ask for it by name. Give it one.")
    refuse_blank(api_key)
    return build(
        Service(
            engine=Engine(model, limits),
            name=name,
            release=release,
            sampling=sampling,
            timeout_seconds=limits.timeout_seconds,
            api_key=api_key.strip() if api_key else None,
            log=InteractionLog(log) if log else None,
            created=int(time.time()),
        )
    )


def serve(
    model: LanguageModel,
    name: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    log: Path | None = None,
    release: int = 0,
    sampling: Sampling = EVALUATED,
    limits: Limits = LIMITS,
) -> None:
    """Serve until Ctrl-C or SIGTERM. Beyond this machine only with an API key."""
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    app = create_app(
        model, name, api_key=api_key, log=log, release=release, sampling=sampling, limits=limits
    )
    if api_key is None:
        _answer_local_names_only(app)
    with listen(host, port, api_key) as listener:
        config = uvicorn.Config(
            app, log_level="warning", ws="none", server_header=False, timeout_graceful_shutdown=5
        )
        say(f"{name} is served at {url(listener)}/v1 (Ctrl-C ends it)")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            say("stopped")


def _answer_local_names_only(app: FastAPI) -> None:
    """Without a key, refuse web pages that had their own name resolve to this machine."""
    from sartor.serving.incoming import LocalNamesOnly

    app.add_middleware(LocalNamesOnly)


def _missing(error: ModuleNotFoundError) -> Exception:
    """What to say of an import that failed: ours to pass on, or an extra that is not installed."""
    if error.name in ("fastapi", "starlette", "uvicorn"):
        return MissingExtraError("serving", "FastAPI and uvicorn", "serve")
    return error
