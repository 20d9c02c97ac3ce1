"""Why an attempt at a remote model has no answer, and whether another may help.

What a provider says of it is shown in its own words, shortened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from sartor.errors import PromptTooLongError, RefusedError, RemoteError

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses that another try may mend."""
GAVE_UP_WAITING = frozenset({408, 502, 504, 520, 524})
"""Of them those by which what stands before the model gives up, or lost it: it may answer, and
charge, all the same."""
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
        after: float | None = None, free: bool = False, held_back: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(str(error))
        self.error = error
        self.again = again
        self.after = after
        """Seconds that the provider asks to wait."""
        self.free = free
        """Whether it cost nothing: the request was refused, or never arrived."""
        self.held_back = held_back
        """Whether a content filter took the request: there is no answer to wait for."""


def refused(
    status: int, headers: Mapping[str, str], data: bytes, who: str, settings: tuple[str, str, str]
) -> Failure:
    """What a status other than 200 means; `settings` are the table, the model, the key's name."""
    table = settings[0]
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    told = f": {words}" if (words := said(body)) else ""
    if (lasting := _lasting(status, headers, body, told, who, settings)) is not None:
        return Failure(lasting, free=True)
    if status in AGAIN or status >= 500:
        limited = "limits how many requests it takes" if status == 429 else "has a fault"
        passing = RemoteError(
            f"{who} {limited} (status {status}{told}). Run again later: answers that were paid "
            f"are kept. requests_per_minute in [{table}] slows requests down."
        )
        return Failure(
            passing, again=True, after=_wait(headers), free=status not in GAVE_UP_WAITING
        )
    unknown = RefusedError(
        f"{who} refuses a request (status {status}{told}). If it names a parameter, leave that "
        f"out with omit in [{table}], or set token_limit or parameters there."
    )
    filtered = status == 400 and _code(body) == "content_filter"
    return Failure(unknown, free=True, held_back=filtered)


def said(body: Any) -> str:
    """The provider's own words, shortened, on one line."""
    found = body
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    if isinstance(found, list):  # FastAPI: what is wrong with each field
        found = "; ".join(filter(None, map(_of_field, found)))
    if not isinstance(found, str):
        return ""
    plain = " ".join("".join(c if c.isprintable() else " " for c in found).split())
    return plain.rstrip(".") if len(plain) <= TOLD else f"{plain[:TOLD]}…"


def _of_field(wrong: Any) -> str:
    """The field's name, and what is wrong with it."""
    if not isinstance(wrong, dict) or not isinstance(wrong.get("msg"), str):
        return ""
    place = wrong.get("loc")
    names = [str(part) for part in place if part != "body"] if isinstance(place, list) else []
    return f"{'.'.join(names)}: {wrong['msg']}" if names else wrong["msg"]


def _lasting(
    status: int, headers: Mapping[str, str], body: Any, told: str, who: str,
    settings: tuple[str, str, str],
) -> RemoteError | PromptTooLongError | None:  # fmt: skip
    """What the same request would meet again, and what to change."""
    table, model, variable = settings
    if status in (401, 403):
        expected = f"a valid one in the environment variable {variable}" if variable else (
            f"one: name its environment variable in api_key_env of [{table}]"
        )  # fmt: skip
        return RemoteError(
            f"{who} refuses the key, or its rights (status {status}). Give {expected}."
        )
    if 300 <= status < 400:
        to = _host(headers.get("location", ""))
        return RemoteError(
            f"{who} sends requests on to {to} (status {status}), which is not followed: the "
            f"key is for the endpoint alone. Set endpoint in [{table}] to where it really is."
        )
    if status == 404:
        return RemoteError(
            f"{who} knows no such address, or no model {model!r} (status 404{told}). Check "
            f"endpoint and model in [{table}]."
        )
    if status == 413 or (status in (400, 422) and _is_too_long(body)):
        return PromptTooLongError(
            f"{who} finds a prompt too long (status {status}{told}). Use fewer passages or "
            f"examples, or correct context in [{table}]."
        )
    if status == 402 or _code(body) == "insufficient_quota":
        return RemoteError(
            f"{who} says that the account's credit is used up (status {status}{told}). Settle "
            "that with the provider, or choose another model."
        )
    return None


def _is_too_long(body: Any) -> bool:
    return _code(body) == "context_length_exceeded" or bool(TOO_LONG.search(said(body)))


def _code(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""


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
