"""What an OpenAI-compatible endpoint says: an answer, a piece of one, or why there is none.

Nothing that comes from the endpoint is believed before it was looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

from sartor.data.cleaning import writable
from sartor.errors import PromptTooLongError, RefusedError, RemoteError
from sartor.models.language_model import Finish

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses that another try may mend."""
ENDED: Mapping[object, Finish] = {"length": "length", "content_filter": "content_filter"}
TOOLS = ("tool_calls", "function_call")
TOO_LONG = re.compile(
    r"context.{0,3}(length|window|size)|(prompt|input|request).{0,30} too (long|large)"
    r"|too many (input )?tokens|maximum.{0,12}(context|prompt|input)|exceed\w* .{0,30}context",
    re.IGNORECASE,
)
"""How providers say that a prompt does not fit, besides OpenAI's code for it."""
TOLD = 300
"""Characters of a provider's own words."""


class Failure(Exception):  # noqa: N818 - of one attempt; what is raised in the end is `error`
    """An attempt without an answer: what to say of it, and whether another may help."""

    def __init__(
        self, error: RemoteError | PromptTooLongError, *, again: bool = False,
        after: float | None = None, held_back: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(str(error))
        self.error = error
        self.again = again
        self.held_back = held_back
        """Whether a content filter took the request: there is no answer to wait for."""
        self.after = after
        """Seconds that the provider asks to wait."""


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
    """Tokens of the prompt and of the answer, where they are told."""
    told = body.get("usage")
    if not isinstance(told, dict):
        return None, None
    counts = [told.get("prompt_tokens"), told.get("completion_tokens")]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts):
        return None, None
    return cast(int, counts[0]), cast(int, counts[1])


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


def refused(
    status: int, headers: Mapping[str, str], data: bytes, who: str, settings: tuple[str, str, str]
) -> Failure:
    """What a status other than 200 means; `settings` are the table, the model, the key's name."""
    table, model, variable = settings
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    words = said(body)
    told = f": {words}" if words else ""
    if status in (401, 403):
        expected = f"a valid one in the environment variable {variable}" if variable else (
            f"one: name its environment variable in api_key_env of [{table}]"
        )  # fmt: skip
        return Failure(
            RemoteError(f"{who} refuses the key, or its rights (status {status}). Give {expected}.")
        )
    if 300 <= status < 400:
        to = _host(headers.get("location", ""))
        return Failure(
            RemoteError(
                f"{who} sends requests on to {to} (status {status}), which is not followed: the "
                f"key is for the endpoint alone. Set endpoint in [{table}] to where it really is."
            )
        )
    if status == 404:
        return Failure(
            RemoteError(
                f"{who} knows no such address, or no model {model!r} (status 404{told}). Check "
                f"endpoint and model in [{table}]."
            )
        )
    if status == 413 or (status in (400, 422) and _is_too_long(body, words)):
        return Failure(
            PromptTooLongError(
                f"{who} finds a prompt too long (status {status}{told}). Use fewer passages or "
                f"examples, or correct context in [{table}]."
            )
        )
    if status == 402 or _code(body) == "insufficient_quota":
        return Failure(
            RemoteError(
                f"{who} says that the account's credit is used up (status {status}{told}). Settle "
                "that with the provider, or choose another model."
            )
        )
    if status in AGAIN or status >= 500:
        limited = "limits how many requests it takes" if status == 429 else "has a fault"
        return Failure(
            RemoteError(
                f"{who} {limited} (status {status}{told}). Run again later: answers that were paid "
                f"are kept. requests_per_minute in [{table}] slows requests down."
            ),
            again=True,
            after=_wait(headers),
        )
    return Failure(
        held_back=status == 400 and _code(body) == "content_filter",
        error=RefusedError(
            f"{who} refuses a request (status {status}{told}). If it names a parameter, leave that "
            f"out with omit in [{table}], or set token_limit or parameters there."
        ),
    )


def _is_too_long(body: Any, words: str) -> bool:
    return _code(body) == "context_length_exceeded" or bool(TOO_LONG.search(words))


def _code(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""


def said(body: Any) -> str:
    """The provider's own words, shortened, on one line."""
    found = body
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    if not isinstance(found, str):
        return ""
    plain = " ".join("".join(c if c.isprintable() else " " for c in found).split())
    return plain.rstrip(".") if len(plain) <= TOLD else f"{plain[:TOLD]}…"


def _host(location: str) -> str:
    try:
        return repr(urlsplit(location).hostname or "another address of its own")
    except ValueError:
        return "a broken address"


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds, of `Retry-After` (RFC 9110, section 10.2.3) or its kin in milliseconds."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * unit
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, TypeError, IndexError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
