"""`sartor serve`: the winner whole, to the official OpenAI client."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from sartor.journey import Project


@contextmanager
def served(folder: Path, *options: str) -> Iterator[str]:
    """The address of a server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sartor", "serve", str(folder), "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"http://\S+/v1", line):
                yield found.group()
                break
        else:
            raise AssertionError("the server ended without an address")
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


def test_the_openai_client_talks_to_what_was_evaluated(shop: Path) -> None:
    project = Project.open(shop)
    project.run()
    question = "How much does the Iron Clock cost?"
    expected = project.ask(question, "rag")
    with served(shop, "--candidate", "rag") as url, OpenAI(base_url=url, api_key="none") as client:
        [model] = client.models.list().data
        asked: list[ChatCompletionMessageParam] = [{"role": "user", "content": question}]
        answer = client.chat.completions.create(model=model.id, messages=asked)
        pieces = client.chat.completions.create(model=model.id, messages=asked, stream=True)
        chunks = [piece for piece in pieces if piece.choices]
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert answer.choices[0].message.content == expected.text == streamed
    assert "Iron Clock" in str(answer.model_dump()["citations"])
