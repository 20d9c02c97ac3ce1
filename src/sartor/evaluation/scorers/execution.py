"""What scorers share that run what a model wrote: only where the project file says so, and only
what it wrote as code."""

from __future__ import annotations

import re

from sartor.errors import SettingError

_FENCE = re.compile(r"```(\w*)\s*\n(.*?)\n?\s*```", re.DOTALL)


def refuse_unless_allowed(scorer: str, allowed: bool) -> None:
    """SettingError where nobody has allowed it."""
    if not allowed:
        raise SettingError(
            f"scorer {scorer} runs what a model wrote, on this machine, and nobody has allowed it. "
            f"Read the scorer's page in the docs; then set allow_execution = true under "
            f"[scorers.{scorer}]."
        )


def written_as(text: str, languages: frozenset[str]) -> str:
    """The one fenced block in that language, or in none; else the text as it is."""
    blocks = [code for language, code in _FENCE.findall(text) if language.lower() in languages]
    return str(blocks[0]) if len(blocks) == 1 else text
