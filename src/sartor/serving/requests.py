"""A chat request: from the JSON of OpenAI's API to a conversation and how to answer it.

What would change the meaning of the answer and is not supported is refused, by name; hints that
change nothing here (who the user is, how to cache) are accepted and dropped; a key nobody knows is
an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from secrets import randbits
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sartor.data.records import Conversation, Message
from sartor.models.language_model import Sampling
from sartor.serving.refusals import Refusal

HINTS = frozenset(
    (
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    )
)
"""Parameters that leave the answer as it is."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "n": (None, 1),
    "presence_penalty": (None, 0),
    "reasoning_effort": (None, "none"),
    "response_format": (None, {"type": "text"}),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
"""Parameters that are not supported, and the values that ask for nothing."""

MAX_STOPS = 4  # as OpenAI's API
SEEDS = 2**32  # every random generator takes a seed below this


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a client asks for."""

    conversation: Conversation
    sampling: Sampling
    seeded: bool
    """Whether the client chose the seed."""
    stream: bool
    include_usage: bool
    """Whether a stream ends with the tokens used."""


class _StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class _Message(BaseModel):
    """Other keys are what clients send back from our own answers: citations, a null refusal."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: object = None
    tool_calls: object = None
    function_call: object = None


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    model: str
    messages: Annotated[list[_Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: object = None


def read_chat_request(body: bytes, served: str, defaults: Sampling) -> ChatRequest:
    """The request, or a Refusal naming what is wrong with it.

    What it leaves open is taken from `defaults`: the sampling that the model was evaluated with.
    """
    values = _parsed(body)
    asked = _validated(_without_unsupported(values))
    if asked.model != served:
        raise Refusal(
            404,
            f"there is no model {asked.model!r} here; this server has {served!r} (GET /v1/models).",
            param="model",
            code="model_not_found",
        )
    if asked.stream_options is not None and not asked.stream:
        raise Refusal(400, "'stream_options' needs 'stream': true.", param="stream_options")
    return ChatRequest(
        conversation=_conversation(asked.messages),
        sampling=_sampling(asked, defaults),
        seeded=asked.seed is not None,
        stream=bool(asked.stream),
        include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
    )


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        values = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, f"the body is not valid JSON: {error}.", code="invalid_json") from error
    if not isinstance(values, dict):
        raise Refusal(
            400, 'the body is not a JSON object; expected {"model": ..., "messages": [...]}.'
        )
    return values


def _without_unsupported(values: dict[str, Any]) -> dict[str, Any]:
    for name, neutral in NEUTRAL.items():
        if values.get(name) not in neutral:
            raise Refusal(
                400,
                f"'{name}' is not supported by this server; leave it out.",
                param=name,
                code="unsupported_parameter",
            )
    dropped = HINTS | NEUTRAL.keys()
    return {name: value for name, value in values.items() if name not in dropped}


def _validated(values: dict[str, Any]) -> _Body:
    try:
        return _Body.model_validate(values)
    except ValidationError as error:
        raise _refusal(error.errors()[0]) from error


def _refusal(error: Any) -> Refusal:
    """Pydantic's complaint, naming the parameter as a client would: `messages[0].role`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    param = "".join(parts).removeprefix(".")
    if error["type"] == "missing":
        return Refusal(400, f"'{param}' is missing; it is required.", param=param)
    if error["type"] == "extra_forbidden":
        near = get_close_matches(param, _Body.model_fields, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; leave it out."
        return Refusal(
            400, f"unknown parameter '{param}'{hint}", param=param, code="unknown_parameter"
        )
    return Refusal(400, f"'{param}': {error['msg']}.", param=param)


def _conversation(messages: list[_Message]) -> Conversation:
    conversation = tuple(_message(message, f"messages[{i}]") for i, message in enumerate(messages))
    if not any(message.role == "user" and message.content.strip() for message in conversation):
        raise Refusal(
            400,
            "'messages' holds no question: no message of role 'user' with text. Add one.",
            param="messages",
        )
    return conversation


def _message(message: _Message, where: str) -> Message:
    for name in ("tool_calls", "function_call"):
        if getattr(message, name):
            raise Refusal(
                400,
                f"'{where}.{name}' is not supported by this server; leave such messages out.",
                param=f"{where}.{name}",
                code="unsupported_parameter",
            )
    role = "system" if message.role == "developer" else message.role
    return Message(role, _text(message.content, f"{where}.content"))


def _text(content: object, where: str) -> str:
    """A message's text: a string, or a list of text parts (put on lines of their own)."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refusal(400, f"'{where}' is neither a string nor a list of text parts.", param=where)
    for i, part in enumerate(content):
        if not _is_text(part):
            raise Refusal(
                400,
                f'\'{where}[{i}]\' is not a text part ({{"type": "text", "text": ...}}); '
                "this server reads text only.",
                param=f"{where}[{i}]",
            )
    return "\n".join(part["text"] for part in content)


def _is_text(part: object) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _sampling(asked: _Body, defaults: Sampling) -> Sampling:
    temperature = defaults.temperature if asked.temperature is None else asked.temperature
    if asked.top_p not in (None, 1) and temperature > 0:
        raise Refusal(
            400,
            "'top_p' is not supported by this server; set 'temperature' instead.",
            param="top_p",
            code="unsupported_parameter",
        )
    return Sampling(
        temperature=temperature,
        max_new_tokens=_max_new_tokens(asked) or defaults.max_new_tokens,
        seed=randbits(32) if asked.seed is None else asked.seed % SEEDS,
        stop=_stop(asked.stop) or defaults.stop,
    )


def _max_new_tokens(asked: _Body) -> int | None:
    if None not in (asked.max_tokens, asked.max_completion_tokens) and (
        asked.max_tokens != asked.max_completion_tokens
    ):
        raise Refusal(
            400,
            f"'max_tokens' is {asked.max_tokens} but 'max_completion_tokens' is "
            f"{asked.max_completion_tokens}; give one of them.",
            param="max_tokens",
        )
    return asked.max_completion_tokens or asked.max_tokens


def _stop(stop: object) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop
    if stops is None:
        return ()
    if (
        not isinstance(stops, list)
        or len(stops) > MAX_STOPS
        or not all(isinstance(text, str) and text for text in stops)
    ):
        raise Refusal(
            400,
            f"'stop' must be a text or a list of up to {MAX_STOPS} texts, none of them empty.",
            param="stop",
        )
    return tuple(stops)
