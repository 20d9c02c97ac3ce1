"""Small endpoints on this machine that behave, and that misbehave, as remote models do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sartor.data.records import Conversation, Message
from sartor.models.remote import RemoteModel, described
from sartor.project import Remote

KEY = "sk-verysecret-0123456789abcdef"


@dataclass
class Say:
    """One response."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """Before it begins."""


@dataclass
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: Any


def completion(text: str = "four weeks", finish: str = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion of 10 tokens for 100."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "1", "model": "served", "choices": [choice], "usage": usage, **more}


class Endpoint:
    """Answers each request with what `answer` makes of it, and remembers it."""

    def __init__(self, answer: Callable[[Got], Say]) -> None:
        self.answer = answer
        self.got: list[Got] = []
        self.under_way = self.most_at_once = 0
        self.lock = threading.Lock()
        self.url = ""

    def respond(self, got: Got) -> Say:
        with self.lock:
            self.got.append(got)
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            said = self.answer(got)
            time.sleep(said.seconds)
            return said
        finally:
            with self.lock:
                self.under_way -= 1


@contextmanager
def endpoint(answer: Callable[[Got], Say]) -> Iterator[Endpoint]:
    """A server that is there inside the block."""
    one = Endpoint(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            said = one.respond(Got(self.path, dict(self.headers), json.loads(body)))
            data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            try:
                self.send_response(said.status)
                headers = {"Content-Type": "application/json", **said.headers}
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    one.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield one
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def in_turn(*said: Say) -> Callable[[Got], Say]:
    """These responses one after the other; the last for ever."""
    left = list(said)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def model(url: str, project: Path, **settings: Any) -> RemoteModel:
    """A remote model of that project."""
    remote = Remote(endpoint=url, model="m-1", **{"timeout_seconds": 5.0, **settings})
    return RemoteModel(described("far", remote, project))


def ask(question: str = "How long is the notice period?") -> Conversation:
    return (Message("user", question),)
