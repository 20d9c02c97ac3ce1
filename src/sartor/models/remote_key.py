"""The key of a remote model: from the environment, into one header, and nowhere else."""

from __future__ import annotations

import os
import re

from sartor.errors import RemoteError
from sartor.project import Remote

SECRET = 12
"""Characters; what is shorter (`EMPTY`, say) is a stand-in, and may be a word of any answer."""
TOLD_PART = 6
"""So many characters of a key in a row give it away."""
HIDDEN = "[key]"
WORD = re.compile(r"[^\s(\"'].*?(?=[)\"',.;:]*(?:\s|$))")
"""Of an error, without what stands around it."""


class Key:
    """A key that does not print itself, and takes itself out of texts."""

    def __init__(self, value: str = "") -> None:
        self._value = value
        self._secret = value if len(value) >= SECRET else ""

    @classmethod
    def of(cls, name: str, remote: Remote) -> Key:
        """The key that the settings name; RemoteError where the environment has none."""
        variable = remote.api_key_env
        if not variable:
            return cls()
        value = os.environ.get(variable, "").strip()
        if not value:
            raise RemoteError(
                f"remote model {name!r}: its key is expected in the environment variable "
                f"{variable}, which is not set. Set it (export {variable}=...), or leave "
                f"api_key_env out of [remote.{name}] if the endpoint takes none."
            )
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise RemoteError(
                f"remote model {name!r}: the environment variable {variable} holds spaces, line "
                "ends or letters beyond ASCII, which no key has. Set it anew."
            )
        return cls(value)

    def __repr__(self) -> str:
        return "Key()"

    def headers(self) -> dict[str, str]:
        """What a request shows it in."""
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def hide(self, text: str) -> str:
        """An answer without the key, should the endpoint have repeated it."""
        return text.replace(self._secret, HIDDEN) if self._secret else text

    def hide_parts(self, text: str) -> str:
        """An error without any word that holds a part of the key: providers repeat some. Brackets,
        quotes and stops around it stay."""
        if not self._secret:
            return text
        key = self._secret
        parts = [key[i : i + TOLD_PART] for i in range(len(key) - TOLD_PART + 1)]
        return re.sub(
            WORD, lambda word: HIDDEN if any(p in word[0] for p in parts) else word[0], text
        )

    def unfinished(self, text: str) -> int:
        """How many characters at the end of a stream may be the beginning of the key."""
        longest = min(len(text), max(0, len(self._secret) - 1))
        return next((n for n in range(longest, 0, -1) if self._secret.startswith(text[-n:])), 0)
