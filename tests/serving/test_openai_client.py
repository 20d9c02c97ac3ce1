"""The official OpenAI client against a real server on a port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi import FastAPI
from openai.types.chat import ChatCompletionMessageParam

from sartor.data.records import Conversation
from sartor.errors import PromptTooLongError
from sartor.models.language_model import Completion, Sampling
from sartor.models.scripted import ScriptedModel
from sartor.serving.engine import Limits
from sartor.serving.interactions import find_interaction
from sartor.serving.server import create_app

Start = Callable[[FastAPI], str]
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How long is it?"}]


def connect(url: str, key: str = "secret") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=20)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "interactions.sqlite"


@pytest.fixture
def client(model: ScriptedModel, log: Path, start: Start) -> Iterator[openai.OpenAI]:
    url = start(create_app(model, "handbook", api_key="secret", log=log))
    with connect(url) as client:
        yield client


def test_it_chats(client: openai.OpenAI, log: Path) -> None:
    answer = client.chat.completions.create(model="handbook", messages=QUESTION)
    assert answer.choices[0].message.content == "user: How long is it?"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 5)
    logged = find_interaction(log, answer.id)
    assert logged is not None
    assert logged.completion == "user: How long is it?"


def test_it_finds_the_citations(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="handbook", messages=QUESTION)
    extra: Any = answer.choices[0].message
    [citation] = extra.citations
    assert (citation["index"], citation["document_id"]) == (1, "handbook")
    assert citation["text"] == "The notice period is four weeks."


def test_it_streams(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="handbook",
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *said, usage = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in said)
    assert text == "user: How long is it?"
    assert len(said) > 5
    assert said[-1].choices[0].finish_reason == "stop"
    closing: Any = said[-1]
    assert closing.citations[0]["document_id"] == "handbook"
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.total_tokens == 9


def test_its_own_stream_reader_understands_ours(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="handbook", messages=QUESTION) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "user: How long is it?"


def test_a_conversation_goes_on_with_our_own_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="handbook", messages=QUESTION)
    message: Any = answer.choices[0].message.model_dump()
    follow_up: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        *QUESTION,
        message,
        {"role": "user", "content": "Sure?"},
    ]
    again = client.chat.completions.create(model="handbook", messages=follow_up)
    assert again.choices[0].message.content is not None
    assert again.choices[0].message.content.startswith("system: Be brief. | user: How long")


def test_it_lists_the_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["handbook"]
    assert client.models.retrieve("handbook").owned_by == "sartor"


def test_a_wrong_key_is_an_authentication_error(client: openai.OpenAI) -> None:
    stranger = client.with_options(api_key="guess")
    with pytest.raises(openai.AuthenticationError, match="a wrong one"):
        stranger.chat.completions.create(model="handbook", messages=QUESTION)
    with pytest.raises(openai.AuthenticationError):
        list(stranger.models.list())


def test_mistakes_are_the_errors_it_knows(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="this server has 'handbook'"):
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="handbook", messages=QUESTION, n=2)
    assert caught.value.param == "n"
    with pytest.raises(openai.APIStatusError) as large:
        client.chat.completions.create(
            model="handbook", messages=[{"role": "user", "content": "x" * 2_000_000}]
        )
    assert large.value.status_code == 413


def test_a_prompt_that_is_too_long_is_an_error_it_knows(start: Start) -> None:
    def too_long(conversation: Conversation) -> str:
        raise PromptTooLongError("the prompt has 9000 tokens, but thimble reads at most 2048.")

    with connect(start(create_app(ScriptedModel(too_long), "handbook"))) as client:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="9000 tokens") as caught:
                client.chat.completions.create(model="handbook", messages=QUESTION, stream=stream)
            assert caught.value.code == "context_length_exceeded"


def test_a_stream_that_fails_half_way_is_an_error_it_knows(start: Start) -> None:
    class Failing(ScriptedModel):
        def stream(
            self, conversation: Conversation, sampling: Sampling
        ) -> Iterator[str | Completion]:
            yield "four"
            raise RuntimeError("out of memory")

    with connect(start(create_app(Failing(lambda _: ""), "handbook"))) as client:
        stream = client.chat.completions.create(model="handbook", messages=QUESTION, stream=True)
        with pytest.raises(openai.APIError, match="the model failed"):
            list(stream)


@pytest.mark.parametrize("stream", [False, True])
def test_sixteen_clients_at_once_get_the_answers_they_would_get_alone(
    start: Start, stream: bool
) -> None:
    sizes: list[int] = []

    class Counting(ScriptedModel):
        def generate(
            self, conversations: Sequence[Conversation], sampling: Sampling
        ) -> list[Completion]:
            sizes.append(len(conversations))
            time.sleep(0.02)  # so that others have time to queue up
            return super().generate(conversations, sampling)

    model = Counting(lambda conversation: f"{conversation[-1].content} in words")
    url = start(create_app(model, "handbook"))

    def answer(number: int) -> str:
        asked: list[ChatCompletionMessageParam] = [
            {"role": "user", "content": f"question {number}"}
        ]
        with connect(url) as client:
            if not stream:
                whole = client.chat.completions.create(model="handbook", messages=asked)
                return whole.choices[0].message.content or ""
            chunks = client.chat.completions.create(model="handbook", messages=asked, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    alone = [answer(number) for number in range(16)]
    with ThreadPoolExecutor(16) as clients:
        together = list(clients.map(answer, range(16)))
    assert together == alone
    assert len(set(alone)) == 16
    if not stream:
        assert max(sizes) > 1


def test_a_client_that_hangs_up_mid_stream_frees_the_model(start: Start) -> None:
    ended = threading.Event()

    class Endless(ScriptedModel):
        def stream(
            self, conversation: Conversation, sampling: Sampling
        ) -> Iterator[str | Completion]:
            try:
                while True:
                    yield "and "
                    time.sleep(0.01)
            finally:
                ended.set()

    with connect(start(create_app(Endless(lambda _: "done"), "handbook"))) as client:
        stream = client.chat.completions.create(model="handbook", messages=QUESTION, stream=True)
        next(stream)
        stream.close()
        assert ended.wait(10)
        answer = client.chat.completions.create(model="handbook", messages=QUESTION)
        assert answer.choices[0].message.content == "done"


def test_a_client_that_hangs_up_while_waiting_is_not_answered(start: Start) -> None:
    go_on = threading.Event()
    asked: list[str] = []

    def answer(conversation: Conversation) -> str:
        asked.append(conversation[-1].content)
        assert go_on.wait(10)
        return "done"

    app = create_app(ScriptedModel(answer), "handbook", limits=Limits(max_batch=1))
    with connect(start(app)) as client, ThreadPoolExecutor(1) as others:
        first = others.submit(client.chat.completions.create, model="handbook", messages=QUESTION)
        while not asked:
            time.sleep(0.005)
        hasty = client.with_options(timeout=0.2)
        with pytest.raises(openai.APITimeoutError):
            hasty.chat.completions.create(
                model="handbook", messages=[{"role": "user", "content": "never mind"}]
            )
        time.sleep(0.2)
        go_on.set()
        assert first.result().choices[0].message.content == "done"
        client.chat.completions.create(
            model="handbook", messages=[{"role": "user", "content": "last"}]
        )
    assert asked == ["How long is it?", "last"]
