"""The web application, in process."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from sartor.data.records import Conversation
from sartor.errors import (
    MissingExtraError,
    ModelError,
    PromptTooLongError,
    RemoteError,
    ServingError,
)
from sartor.models.language_model import Completion, Sampling
from sartor.models.scripted import ScriptedModel
from sartor.serving.address import listen
from sartor.serving.engine import Limits
from sartor.serving.incoming import MAX_BODY
from sartor.serving.interactions import find_interaction, read_interactions
from sartor.serving.server import create_app, serve

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "How long?"}
JSON = {"Content-Type": "application/json"}
ASKED: dict[str, Any] = {"model": "handbook", "messages": [USER]}
CITED = {
    "index": 1,
    "document_id": "handbook",
    "title": "Staff handbook",
    "start": 10,
    "end": 42,
    "text": "The notice period is four weeks.",
}


@pytest.fixture
def client(model: ScriptedModel) -> Iterator[TestClient]:
    with TestClient(create_app(model, "handbook")) as client:
        yield client


def client_of(model: Any, **how: Any) -> TestClient:
    return TestClient(create_app(model, "handbook", **how))


def events(text: str) -> list[Any]:
    """The data of server-sent events; the end mark as None."""
    data = [block.removeprefix("data: ") for block in text.split("\n\n") if block]
    return [None if item == "[DONE]" else json.loads(item) for item in data]


def test_a_question_is_answered_with_usage_and_citations(client: TestClient) -> None:
    body = client.post(CHAT, json=ASKED).json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "handbook"
    [choice] = body["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == "user: How long?"
    assert choice["message"]["citations"] == body["citations"] == [CITED]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def test_the_token_limit_and_stop_texts_reach_the_model(client: TestClient) -> None:
    [limited] = client.post(CHAT, json={**ASKED, "max_tokens": 2}).json()["choices"]
    assert (limited["message"]["content"], limited["finish_reason"]) == ("user: How", "length")
    [stopped] = client.post(CHAT, json={**ASKED, "stop": ["long"]}).json()["choices"]
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("user: How ", "stop")


def test_a_stream_tells_who_speaks_then_the_words_then_why_it_ended(client: TestClient) -> None:
    response = client.post(CHAT, json={**ASKED, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, end = events(response.text)
    assert end is None
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta["content"] for delta in deltas[1:-1]] == ["user:", " How", " long?"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["citations"] == deltas[-1]["citations"] == [CITED]


def test_a_stream_ends_with_usage_when_asked(client: TestClient) -> None:
    asked = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
    *_, closing, usage, end = events(client.post(CHAT, json=asked).text)
    assert end is None
    assert "citations" in closing
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def test_line_ends_in_an_answer_do_not_break_a_stream() -> None:
    text = "one\ntwo\r\nthree\u2028four\x85five \N{PARTY POPPER}"
    response = client_of(ScriptedModel(lambda _: text)).post(CHAT, json={**ASKED, "stream": True})
    assert response.text.splitlines() == response.text.split("\n")[:-1]
    *chunks, _ = events(response.text)
    said = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(said) == text


def test_the_models_are_listed(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    assert [model["id"] for model in body["data"]] == ["handbook"]
    assert client.get("/v1/models/handbook").json() == body["data"][0]
    assert client.get("/v1/models/gpt/4o").status_code == 404


def test_a_name_with_a_slash_is_found(model: ScriptedModel) -> None:
    with TestClient(create_app(model, "shop/rag+lora")) as client:
        assert client.get("/v1/models/shop/rag+lora").json()["id"] == "shop/rag+lora"


def test_health_needs_no_key(model: ScriptedModel) -> None:
    body = client_of(model, api_key="secret", release=3).get("/health").json()
    assert body == {"status": "ok", "model": "handbook", "release": 3, "waiting": 0}


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", "secret", "Basic secret", "Bearer sécret"]
)
def test_without_the_key_nothing_is_answered(model: ScriptedModel, header: str) -> None:
    client = client_of(model, api_key="secret")
    headers = {b"Authorization": header.encode()}
    for response in (
        client.get("/v1/models", headers=headers),
        client.post(CHAT, json=ASKED, headers=headers),
    ):
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert "secret" not in response.text


def test_with_the_key_it_is(model: ScriptedModel) -> None:
    client = client_of(model, api_key="sécret")
    headers = {b"Authorization": "Bearer sécret".encode()}
    assert client.post(CHAT, json=ASKED, headers=headers).status_code == 200


def test_an_empty_key_is_a_mistake_and_not_an_open_door(model: ScriptedModel) -> None:
    with pytest.raises(ServingError, match="SARTOR_API_KEY"):
        create_app(model, "handbook", api_key=" ")
    with pytest.raises(ServingError, match="SARTOR_API_KEY"):
        listen("127.0.0.1", 0, api_key="\n")  # before a model is loaded


@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_the_shape_that_openai_clients_read(client: TestClient, stream: bool) -> None:
    asked = {**ASKED, "stream": stream, "tools": [{"type": "function"}]}
    response = client.post(CHAT, json=asked)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", "tools")


@pytest.mark.parametrize(("method", "path"), [("GET", CHAT), ("POST", "/v1/embeddings")])
def test_so_have_routes_that_are_not_there(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status_code in (404, 405)
    assert "POST /v1/chat/completions" in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_is_the_clients_to_mend(stream: bool) -> None:
    def too_long(conversation: Conversation) -> str:
        raise PromptTooLongError("the prompt has 9000 tokens, but thimble reads at most 2048.")

    response = client_of(ScriptedModel(too_long)).post(CHAT, json={**ASKED, "stream": stream})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert "9000 tokens" in response.json()["error"]["message"]


def test_a_request_the_model_refuses_for_another_reason_is_not_called_too_long() -> None:
    def refuses(conversation: Conversation) -> str:
        raise ModelError("the model's chat template refuses this conversation: no system role")

    response = client_of(ScriptedModel(refuses)).post(CHAT, json=ASKED)
    assert response.status_code == 400
    assert response.json()["error"]["code"] is None
    assert "no system role" in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_remote_model_that_fails_is_told_to_the_log_and_not_to_the_client(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(conversation: Conversation) -> str:
        raise RemoteError("remote model 'far' cannot be reached at http://inside:8000/v1")

    response = client_of(ScriptedModel(failing)).post(CHAT, json={**ASKED, "stream": stream})
    assert response.status_code == 502
    assert response.json()["error"]["type"] == "server_error"
    assert "inside" not in response.text
    assert "http://inside:8000/v1" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_failing_model_is_told_to_the_log_and_not_to_the_client(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(conversation: Conversation) -> str:
        raise RuntimeError("/home/ada/weights are gone")

    response = client_of(ScriptedModel(failing)).post(CHAT, json={**ASKED, "stream": stream})
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "/home/ada" not in response.text
    assert "/home/ada/weights are gone" in caplog.text


def test_a_stream_that_fails_half_way_ends_with_an_error() -> None:
    class Failing(ScriptedModel):
        def stream(
            self, conversation: Conversation, sampling: Sampling
        ) -> Iterator[str | Completion]:
            yield "four"
            raise RuntimeError("out of memory")

    response = client_of(Failing(lambda _: "")).post(CHAT, json={**ASKED, "stream": True})
    opening, piece, error = events(response.text)
    assert opening["choices"][0]["delta"]["role"] == "assistant"
    assert piece["choices"][0]["delta"]["content"] == "four"
    assert error["error"]["type"] == "server_error"


@pytest.mark.parametrize("size", [MAX_BODY + 1, 3 * MAX_BODY])
def test_a_body_that_is_too_large_is_refused(client: TestClient, size: int) -> None:
    response = client.post(CHAT, content=b"x" * size, headers=JSON)
    assert response.status_code == 413
    assert "1048576 bytes" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_what_a_web_page_may_send_unasked_is_refused(client: TestClient, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    response = client.post(CHAT, content=json.dumps(ASKED), headers=headers)
    assert response.status_code == 415
    error = response.json()["error"]
    assert error["code"] == "unsupported_media_type"
    assert "'Content-Type: application/json'" in error["message"]


def test_json_may_name_its_encoding(client: TestClient) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert client.post(CHAT, content=json.dumps(ASKED), headers=headers).status_code == 200


def test_a_body_of_the_largest_size_is_read(client: TestClient) -> None:
    head = json.dumps(ASKED).encode()
    assert client.post(CHAT, content=head.ljust(MAX_BODY), headers=JSON).status_code == 200


@dataclass
class Held:
    """Answers nothing until it is let go on."""

    busy: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, conversation: Conversation) -> str:
        self.busy.set()
        assert self.go_on.wait(10)
        return "done"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_given_up(stream: bool) -> None:
    held = Held()
    client = client_of(ScriptedModel(held), limits=Limits(timeout_seconds=0.1))
    response = client.post(CHAT, json={**ASKED, "stream": stream})
    held.go_on.set()
    assert response.status_code == 504
    assert "no answer within 0.1 seconds" in response.json()["error"]["message"]


def test_a_full_queue_asks_the_client_to_come_back() -> None:
    held = Held()
    app = create_app(ScriptedModel(held), "handbook", limits=Limits(max_waiting=1))
    with TestClient(app) as client, ThreadPoolExecutor(2) as others:
        first = others.submit(client.post, CHAT, json=ASKED)
        assert held.busy.wait(10)
        second = others.submit(client.post, CHAT, json=ASKED)
        while client.get("/health").json()["waiting"] == 0:
            time.sleep(0.005)
        response = client.post(CHAT, json=ASKED)
        held.go_on.set()
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["error"]["code"] == "queue_full"
        assert [first.result().status_code, second.result().status_code] == [200, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_an_interaction_is_logged_under_the_responses_id(
    model: ScriptedModel, tmp_path: Path, stream: bool
) -> None:
    log = tmp_path / "interactions.sqlite"
    headers = {"Authorization": "Bearer secret"}
    with client_of(model, log=log, release=3, api_key="secret") as client:
        response = client.post(CHAT, json={**ASKED, "stream": stream}, headers=headers)
    id = events(response.text)[0]["id"] if stream else response.json()["id"]
    logged = find_interaction(log, id)
    assert logged is not None
    assert logged.input[0].content == "How long?"
    assert logged.completion == "user: How long?"
    assert logged.document_ids == ("handbook",)
    assert (logged.release, logged.prompt_tokens, logged.new_tokens) == (3, 2, 3)
    assert logged.seconds > 0
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.iterdir())


def test_refused_requests_are_not_logged(model: ScriptedModel, tmp_path: Path) -> None:
    log = tmp_path / "interactions.sqlite"
    with client_of(model, log=log) as client:
        client.post(CHAT, json={**ASKED, "n": 2})
    assert list(read_interactions(log)) == []


def test_a_log_that_cannot_be_written_fails_no_request(
    model: ScriptedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    client = client_of(model, log=tmp_path / "taken" / "interactions.sqlite")
    with caplog.at_level(logging.WARNING):
        answers = [client.post(CHAT, json=ASKED).status_code for _ in range(3)]
    assert answers == [200, 200, 200]
    assert sum(record.name == "sartor.serving" for record in caplog.records) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.7"])
def test_it_does_not_open_to_other_machines_without_a_key(host: str) -> None:
    with pytest.raises(ServingError, match="SARTOR_API_KEY"):
        listen(host, 0, api_key=None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_listens_on_this_machine_without_one(host: str) -> None:
    listen(host, 0, api_key=None).close()


def test_a_port_in_use_is_said_so(model: ScriptedModel) -> None:
    with listen("127.0.0.1", 0, api_key=None) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=rf"127\.0\.0\.1:{port}: the port is in use"):
            serve(model, "handbook", port=port)


def test_a_host_or_port_that_cannot_be_is_said_so() -> None:
    with pytest.raises(ServingError, match="a number from 0 to 65535"):
        listen("127.0.0.1", 70000, api_key=None)
    for key in ("secret", None):
        with pytest.raises(ServingError, match="no such host"):
            listen("no-such-host.invalid", 0, api_key=key)
        with pytest.raises(ServingError, match="no such host"):
            listen("a..b", 0, api_key=key)
    with pytest.raises(ServingError, match="address of this machine"):
        listen("192.0.2.1", 0, api_key="secret")  # RFC 5737: nobody's


def test_without_fastapi_it_says_what_to_install(
    model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sartor.serving.app")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(MissingExtraError, match=r'pip install "sartor\[serve\]"'):
        create_app(model, "handbook")


SERVED = """
import sys
from sartor.models.scripted import ScriptedModel
from sartor.serving.server import serve
from sartor import progress

class Said(progress.Silent):
    def say(self, message):
        print(message, flush=True)

with progress.shown_by(Said()):
    serve(ScriptedModel(lambda _: "hi"), "handbook", port=int(sys.argv[1]))
print("after", flush=True)
"""


@pytest.fixture
def served() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`serve` in a process of its own: its URL, and the process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "error", "-c", SERVED, str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}/v1" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}", process
        process.kill()


def test_ctrl_c_ends_it_cleanly(served: tuple[str, subprocess.Popen[str]]) -> None:
    url, process = served
    assert (
        httpx2.post(f"{url}{CHAT}", json=ASKED).json()["choices"][0]["message"]["content"] == "hi"
    )
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=20)
    assert said.splitlines() == ["stopped", "after"]
    assert complained == ""
    assert process.returncode == 0


def test_without_a_key_a_web_page_under_another_name_is_refused(
    served: tuple[str, subprocess.Popen[str]],
) -> None:
    url, _ = served
    rebound = httpx2.get(f"{url}/v1/models", headers={"Host": "evil.example"})
    assert rebound.status_code == 400
    assert rebound.json()["error"]["code"] == "invalid_host"
    assert "'evil.example'" in rebound.json()["error"]["message"]
    for host in ("LOCALHOST:1", "[::1]:8000", "127.0.0.1"):
        assert httpx2.get(f"{url}/v1/models", headers={"Host": host}).status_code == 200
    assert httpx2.get(f"{url}/v1/models").status_code == 200
