"""What a client is told when it gets no answer, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from sartor.errors import ModelError, PromptTooLongError, RemoteError, ServingError
from sartor.serving.engine import QueueFullError


class Refusal(Exception):  # noqa: N818 - an answer to the client, not a fault of ours
    """A request that is not answered: the HTTP status, and what to say."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The JSON that says so."""
        return {
            "error": {
                "message": str(self),
                "type": "server_error" if self.status >= 500 else "invalid_request_error",
                "param": self.param,
                "code": self.code,
            }
        }


def for_error(error: Exception) -> Refusal:
    """What to tell the client about an error from the engine or the model.

    A model raises ModelError when it cannot take the request (the prompt is too long, its chat
    template knows no such role); its message is meant for people. Anything else is our fault, and
    its details stay in the server's log.
    """
    match error:
        case PromptTooLongError():
            return Refusal(400, str(error), param="messages", code="context_length_exceeded")
        case RemoteError():  # names addresses and settings that are no client's business
            return Refusal(
                502, "the remote model behind this server gave no answer; its log says why."
            )
        case ModelError():
            return Refusal(400, str(error), param="messages")
        case QueueFullError():
            return Refusal(503, str(error), code="queue_full", headers={"Retry-After": "1"})
        case ServingError():
            return Refusal(503, str(error), code="unavailable", headers={"Retry-After": "5"})
        case _:
            return Refusal(500, "the model failed on this request; the server's log says why.")
