"""A completion as the JSON of OpenAI's API: whole, or as the chunks of a stream.

Citations are sartor's addition: the passages the model was given to read, numbered from 1 as in its
prompt. They stand on the message and at the top, so that a client finds them either way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sartor.data.records import Passage
from sartor.models.language_model import Completion

Json = dict[str, Any]

END_OF_STREAM = "data: [DONE]\n\n"


def model_json(name: str, created: int) -> Json:
    """A model as GET /v1/models lists it; `created` in Unix seconds."""
    return {"id": name, "object": "model", "created": created, "owned_by": "sartor"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every part of one response has in common."""

    id: str
    """Also the interaction's, so that feedback can name it."""
    created: int
    """Unix seconds."""
    model: str
    release: int

    def whole(self, completion: Completion) -> Json:
        """The answer at once."""
        citations = _citations(completion.passages)
        message = {
            "role": "assistant",
            "content": completion.text,
            "refusal": None,
            "citations": citations,
        }
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": completion.finish,
        }
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": _usage(completion),
            "citations": citations,
        }

    def opening(self) -> Json:
        """A stream's first chunk: who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> Json:
        """A chunk with some text."""
        return self._chunk({"content": text})

    def closing(self, completion: Completion) -> Json:
        """The last chunk before usage: why it ended, and the citations."""
        citations = _citations(completion.passages)
        chunk = self._chunk({"citations": citations}, finish=completion.finish)
        return {**chunk, "citations": citations}

    def usage(self, completion: Completion) -> Json:
        """The chunk that stream_options.include_usage asks for."""
        head = self._head("chat.completion.chunk")
        return {**head, "choices": [], "usage": _usage(completion)}

    def _chunk(self, delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice], "usage": None}

    def _head(self, kind: str) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"release-{self.release}",
        }


def event(value: Json) -> str:
    """One server-sent event. ASCII, since many clients take U+2028 and its kin for line ends."""
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"


def _usage(completion: Completion) -> Json:
    return {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.new_tokens,
        "total_tokens": completion.prompt_tokens + completion.new_tokens,
    }


def _citations(passages: Sequence[Passage]) -> list[Json]:
    return [
        {
            "index": number,
            "document_id": passage.document_id,
            "title": passage.title,
            "start": passage.start,
            "end": passage.end,
            "text": passage.text,
        }
        for number, passage in enumerate(passages, 1)
    ]
