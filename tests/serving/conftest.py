"""A scripted model, and a real server on a free port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn
from fastapi import FastAPI

from sartor.data.records import Conversation, Passage
from sartor.models.scripted import ScriptedModel
from sartor.serving.address import listen

HANDBOOK = Passage("handbook", 10, 42, "The notice period is four weeks.", title="Staff handbook")


def echo(conversation: Conversation) -> str:
    """An answer that shows what the model was asked."""
    return " | ".join(f"{message.role}: {message.content}" for message in conversation)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel(echo, passages=(HANDBOOK,))


@pytest.fixture
def start() -> Iterator[Callable[[FastAPI], str]]:
    """Starts an application, gives its URL; it is stopped when the test ends."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(_running(app))


@contextmanager
def _running(app: FastAPI) -> Iterator[str]:
    with listen("127.0.0.1", 0, api_key=None) as listener:
        config = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()
