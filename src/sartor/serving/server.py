"""Serve a model to OpenAI clients, from this process.

    serve(model, "handbook")       # http://127.0.0.1:8000/v1, until Ctrl-C

Any language model will do: bare, prompted, RAG, trained, or a stack of these. Which release it
is, and how it is loaded, is for others.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import MissingExtraError, ServingError
from sartor.models.language_model import LanguageModel, Sampling
from sartor.progress import say
from sartor.serving.engine import Engine, Limits
from sartor.serving.interactions import InteractionLog

if TYPE_CHECKING:
    from fastapi import FastAPI

EVALUATED = Sampling()
"""What a request leaves open is answered as the model was evaluated: greedy."""
LIMITS = Limits()
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


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
    if api_key is not None and not api_key.strip():
        raise ServingError(
            "the API key is empty. Set SARTOR_API_KEY to a long random text, or unset it."
        )
    return build(
        Service(
            engine=Engine(model, limits),
            name=name,
            release=release,
            sampling=sampling,
            timeout_seconds=limits.timeout_seconds,
            api_key=api_key,
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
        say(f"{name} is served at {_url(listener)}/v1 (Ctrl-C ends it)")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            say("stopped")


def listen(host: str, port: int, api_key: str | None) -> socket.socket:
    """A socket bound to the address, or a ServingError that says why not.

    Costs nothing, so it can be tried before a model is loaded. Port 0 takes any free one.
    """
    if api_key is None and not _is_local(host):
        raise ServingError(
            f"host {host!r} can be reached from other machines, and there is no API key: anyone "
            "could use the model and read its documents. Set the environment variable "
            "SARTOR_API_KEY to a long random text, or keep the host 127.0.0.1."
        )
    if not 0 <= port <= 65535:
        raise ServingError(f"port is {port}; a port is a number from 0 to 65535 (0: any free one).")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bound(socket.socket(family, kind, protocol), address)
    except OSError as error:
        raise ServingError(f"cannot listen on {host}:{port}: {_why(error, port)}") from error


def _bound(listener: socket.socket, address: tuple[Any, ...]) -> socket.socket:
    try:
        if os.name == "posix":  # elsewhere it would share the port instead of waiting it out
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _why(error: OSError, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"no such host ({error.strerror}). Use 127.0.0.1, or an address of this machine."
    if error.errno == errno.EADDRINUSE:
        return (
            f"the port is in use. Stop what listens there, or choose another, such as {port + 1}."
        )
    if error.errno == errno.EACCES:
        return "not allowed. Choose a port above 1023."
    return f"{error.strerror}. Use 127.0.0.1, or an address of this machine."


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _answer_local_names_only(app: FastAPI) -> None:
    """Without a key, refuse web pages that had their own name resolve to this machine."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL_NAMES), www_redirect=False)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _missing(error: ModuleNotFoundError) -> Exception:
    """What to say of an import that failed: ours to pass on, or an extra that is not installed."""
    if error.name in ("fastapi", "starlette", "uvicorn"):
        return MissingExtraError("serving", "FastAPI and uvicorn", "serve")
    return error
