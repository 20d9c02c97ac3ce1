"""[remote.<name>]: a model behind an OpenAI-compatible interface."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from sartor.project.section import Section

OWN_PARAMETERS = frozenset(
    {"model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"}
)
"""Of a chat request: what sartor sets itself."""
SECRET = re.compile(
    r"(x-)?api[_-]?(key|token)|authorization|password|(client[_-]?)?secret"
    r"|((access|auth|bearer)[_-]?)?token",
    re.IGNORECASE,
)
"""What parameters that hold a key are called."""

NO_ADDRESS = (
    "not a web address. Expected http:// or https://, a host and a path: give one such as "
    "https://api.example.com/v1"
)


def _web_address(endpoint: str) -> str:
    """Without a `/` at its end; the errors do not repeat it."""
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(NO_ADDRESS) from error
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(NO_ADDRESS)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(
            "it has more than a host and a path. Keys belong into an environment variable, which "
            "api_key_env names"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", endpoint):
        raise ValueError(
            "not a web address: it has spaces or letters beyond ASCII. Expected plain letters, "
            "digits and signs: write the others as % and their codes"
        )
    return endpoint.rstrip("/").removesuffix("/chat/completions")


class Remote(Section):
    """[remote.<name>]: a model behind an OpenAI-compatible interface. Holds no secret."""

    endpoint: Annotated[str, AfterValidator(_web_address)]
    """What `/chat/completions` is put behind, such as `https://api.example.com/v1`."""
    model: str = Field(min_length=1)
    """As the endpoint calls it."""
    api_key_env: str = Field("", pattern=r"^([A-Z_][A-Z0-9_]*)?$")
    """Environment variable that holds the key; none is sent when empty."""
    context: int = Field(8192, ge=64)
    """Tokens that prompt and answer may have together."""
    input_price: float = Field(0.0, ge=0)
    output_price: float = Field(0.0, ge=0)
    """Of a million tokens, in the project's currency."""
    budget: float | None = Field(None, gt=0)
    """Most that may ever be paid for it in this project, in the project's currency."""
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    concurrency: int = Field(4, ge=1, le=256)
    """Requests under way at once."""
    timeout_seconds: float = Field(60.0, gt=0)
    """Of one request, its whole answer included."""
    retries: int = Field(5, ge=0, le=20)
    """How often a request is tried again where that may help."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the endpoint calls the most tokens of an answer."""
    omit: tuple[Literal["temperature", "seed", "stop", "stream_options"], ...] = ()
    """Parameters that the endpoint does not take."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """More of the request's body, such as `{ reasoning_effort = "low" }`."""

    @model_validator(mode="after")
    def _sensible(self) -> Remote:
        if self.budget is not None and not (self.input_price or self.output_price):
            raise ValueError("budget is given without prices. Give input_price and output_price")
        if taken := sorted(OWN_PARAMETERS & self.parameters.keys()):
            raise ValueError(
                f"parameters sets {taken[0]!r}, which sartor sets itself. Leave it out"
            )
        headers = [v for k, v in self.parameters.items() if "header" in k and isinstance(v, dict)]
        names = {str(name) for table in (self.parameters, *headers) for name in table}
        if secrets := sorted(filter(SECRET.fullmatch, names)):
            raise ValueError(
                f"parameters sets {secrets[0]!r}, and they are kept and shown. Put the key into an "
                "environment variable, which api_key_env names"
            )
        return self

    def price(self, prompt_tokens: float, new_tokens: float) -> float:
        """Of one answer."""
        return (prompt_tokens * self.input_price + new_tokens * self.output_price) / 1e6
