"""A scripted model, and a real server on a free port of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi import FastAPI
from tests.serving.running import running

from sartor.data.records import Conversation, Passage
from sartor.models.scripted import ScriptedModel

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
        yield lambda app: stack.enter_context(running(app))
