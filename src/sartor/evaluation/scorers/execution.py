"""What scorers share that run what a model wrote: only where the project file says so."""

from __future__ import annotations

from sartor.errors import SettingError


def refuse_unless_allowed(scorer: str, allowed: bool) -> None:
    """SettingError where nobody has allowed it."""
    if not allowed:
        raise SettingError(
            f"scorer {scorer} runs what a model wrote, on this machine, and nobody has allowed it. "
            f"Read the scorer's page in the docs; then set allow_execution = true under "
            f"[scorers.{scorer}]."
        )
