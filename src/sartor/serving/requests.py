"""A chat request of OpenAI's API: the conversation that a client sends, and how to answer it.

Which parameters are known is request_body.py's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from secrets import randbits

from sartor.data.records import Conversation, Message
from sartor.models.language_model import Sampling
from sartor.serving.refusals import Refusal
from sartor.serving.request_body import AskedMessage, Body, read_body

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


def read_chat_request(body: bytes, served: str, defaults: Sampling) -> ChatRequest:
    """The request, or a Refusal naming what is wrong with it.

    What it leaves open is taken from `defaults`: the sampling that the model was evaluated with.
    """
    asked = read_body(body)
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


def _conversation(messages: list[AskedMessage]) -> Conversation:
    conversation = tuple(_message(message, f"messages[{i}]") for i, message in enumerate(messages))
    if not any(message.role == "user" and message.content.strip() for message in conversation):
        raise Refusal(
            400,
            "'messages' holds no question: no message of role 'user' with text. Add one.",
            param="messages",
        )
    return conversation


def _message(message: AskedMessage, where: str) -> Message:
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


def _sampling(asked: Body, defaults: Sampling) -> Sampling:
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


def _max_new_tokens(asked: Body) -> int | None:
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
