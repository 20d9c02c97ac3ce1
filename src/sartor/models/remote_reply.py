"""What an OpenAI-compatible endpoint answers: all at once, or a piece at a time.

Nothing that comes from the endpoint is believed before it was looked at; what is no answer is a
Failure (remote_failure.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sartor.data.cleaning import writable
from sartor.errors import RemoteError
from sartor.models.language_model import Finish
from sartor.models.remote_failure import Failure, said

ENDED: Mapping[object, Finish] = {"length": "length", "content_filter": "content_filter"}
TOOLS = ("tool_calls", "function_call")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as the endpoint gave it; tokens are None where it does not say."""

    text: str
    finish: Finish
    prompt_tokens: int | None
    new_tokens: int | None
    model: str


def parsed(data: bytes | str, who: str) -> dict[str, Any]:
    """The JSON object of a body or an event; Failure for anything else."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Failure(
            RemoteError(
                f"{who} answered with what is no JSON object. Expected a chat completion: check "
                "that endpoint ends where /chat/completions begins, such as .../v1."
            ),
            again=True,
        )
    return found


def whole(body: Mapping[str, Any], who: str) -> Reply:
    """The answer of a chat completion."""
    choice = _choice(body, who)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise _nonsense(who, "a choice without a message")
    content = message.get("content")
    if content is None and isinstance(message.get("refusal"), str):
        content = message["refusal"]
    finish = ended(choice, who)
    if content is None and any(message.get(each) for each in TOOLS):
        raise _tools(who)
    text = "" if finish == "content_filter" else _text(content, who)
    prompt, new = usage(body)
    return Reply(text, finish, prompt, new, writable(str(body.get("model") or "")))


def ended(choice: Mapping[str, Any], who: str) -> Finish:
    """Why the answer ended."""
    if choice.get("finish_reason") in TOOLS:
        raise _tools(who)
    return ENDED.get(choice.get("finish_reason"), "stop")


def piece(body: Mapping[str, Any], who: str) -> tuple[str, Finish | None]:
    """Text of a chunk of a stream, and why the answer ended where this is its last."""
    if isinstance(body.get("error"), dict | str):
        raise Failure(RemoteError(f"{who} broke off its answer: {said(body)}. Try again later."))
    choices = body.get("choices")
    if choices == []:  # the one that tells the usage
        return "", None
    choice = _choice(body, who)
    delta = choice.get("delta")
    content = delta.get("content") if isinstance(delta, dict) else None
    finish = ended(choice, who) if choice.get("finish_reason") else None
    return writable(content) if isinstance(content, str) else "", finish


def usage(body: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Tokens of the prompt and of the answer, where they are told; what the total has beyond both,
    as some count what a model thinks, is of the answer."""
    told = body.get("usage")
    if not isinstance(told, dict):
        return None, None
    counts = [told.get("prompt_tokens"), told.get("completion_tokens")]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts):
        return None, None
    prompt, new = cast(int, counts[0]), cast(int, counts[1])
    total = told.get("total_tokens")
    beyond = total - prompt if isinstance(total, int) and not isinstance(total, bool) else 0
    return prompt, max(new, beyond)


def _choice(body: Mapping[str, Any], who: str) -> dict[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _nonsense(who, f"no choices ({said(body)})" if said(body) else "no choices")
    return choices[0]


def _text(content: Any, who: str) -> str:
    """A string, or the texts of a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return writable(content)
    if isinstance(content, list):
        found = [part.get("text") for part in content if isinstance(part, dict)]
        texts = [text for text in found if isinstance(text, str)]
        if len(texts) == len(content):
            return writable("".join(texts))
    raise _nonsense(who, "a message that is no text")


def _nonsense(who: str, found: str) -> Failure:
    return Failure(
        RemoteError(
            f"{who} answered with {found}. Expected a chat completion with one choice: check "
            "endpoint and model, or ask whoever runs it."
        ),
        again=True,
    )


def _tools(who: str) -> Failure:
    return Failure(
        RemoteError(
            f"{who} asked for a tool instead of answering. Expected text: turn its tools off, or "
            "choose another model."
        )
    )
