"""What scorers share that run what a model wrote: only where the project file says so, and only
what it wrote as code."""

from __future__ import annotations

from sartor.errors import SettingError
from sartor.evaluation.scorers.fenced import fenced


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
    blocks = fenced(text, languages)
    return blocks[0] if len(blocks) == 1 else text
