"""The body of a chat request: the parameters of OpenAI's API that are known here, and their types.

What would change the meaning of the answer and is not supported is refused, by name; hints that
change nothing here (who the user is, how to cache) are accepted and dropped; a key nobody knows is
an error.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class StreamOptions(BaseModel):
    """How a stream is sent."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class AskedMessage(BaseModel):
    """Other keys are what clients send back from our own answers: citations, a null refusal."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: object = None
    tool_calls: object = None
    function_call: object = None


class Body(BaseModel):
    """What a client may say."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    model: str
    messages: Annotated[list[AskedMessage], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: object = None


def read_body(body: bytes) -> Body:
    """The parameters; a Refusal for what is no JSON, not supported, unknown or of another type."""
    values = _without_unsupported(_parsed(body))
    try:
        return Body.model_validate(values)
    except ValidationError as error:
        raise _refusal(error.errors()[0]) from error


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


def _refusal(error: Any) -> Refusal:
    """Pydantic's complaint, naming the parameter as a client would: `messages[0].role`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    param = "".join(parts).removeprefix(".")
    if error["type"] == "missing":
        return Refusal(400, f"'{param}' is missing; it is required.", param=param)
    if error["type"] == "extra_forbidden":
        near = get_close_matches(param, Body.model_fields, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; leave it out."
        return Refusal(
            400, f"unknown parameter '{param}'{hint}", param=param, code="unknown_parameter"
        )
    return Refusal(400, f"'{param}': {error['msg']}.", param=param)
