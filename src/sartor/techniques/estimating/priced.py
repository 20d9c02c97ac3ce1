"""What answers of a remote model will take: money, and about how long; before any is spent.

Of the provider's tokens only estimates are known (models/remote_tokens.py), rather too high than
too low; answers are taken to be as long as the right ones, and none to be kept from earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

from sartor.models.language_model import ModelCard
from sartor.models.remote import paid
from sartor.project import Remote

AN_ANSWER = 2.0
"""Seconds that a provider is taken to need for one."""


@dataclass(frozen=True, slots=True)
class Priced:
    """What some answers would take."""

    seconds: float
    cost: float
    """In the project's currency."""
    why: str = ""
    """Why the budget does not suffice; empty when it does."""
    note: str = ""
    """That prices are missing; empty where they are not."""


def priced(
    card: ModelCard, answers: float, prompt_tokens: float, new_tokens: float, before: float = 0.0
) -> Priced:
    """Seconds and money for so many answers of a remote model; tokens are of all of them. So much
    will have been paid `before`, by the candidates that are asked first."""
    remote = card.remote
    assert remote is not None
    cost = remote.price(prompt_tokens, new_tokens)
    seconds = answers * _seconds((prompt_tokens + new_tokens) / max(1, answers), remote)
    return Priced(seconds, cost, _too_dear(cost, before, card, remote), _unpriced(card, remote))


def _seconds(tokens: float, remote: Remote) -> float:
    """Between one answer and the next: what the slowest of concurrency and limits allows."""
    return max(
        AN_ANSWER / remote.concurrency,
        60 / remote.requests_per_minute if remote.requests_per_minute else 0.0,
        60 * tokens / remote.tokens_per_minute if remote.tokens_per_minute else 0.0,
    )


def _too_dear(cost: float, before: float, card: ModelCard, remote: Remote) -> str:
    if remote.budget is None or cost + before <= (left := remote.budget - paid(card)):
        return ""
    others = f", those of the candidates before it about {before:.3g}" if before else ""
    return (
        f"its answers cost about {cost:.3g}{others}, and {max(0.0, left):.3g} of the budget of "
        f"{remote.budget:g} is left. Raise budget in [remote.{card.name}], or lower max_test and "
        "max_validation in [data]."
    )


def _unpriced(card: ModelCard, remote: Remote) -> str:
    missing = [name for name in ("input_price", "output_price") if not getattr(remote, name)]
    if not missing:
        return ""
    return (
        f"[remote.{card.name}] gives no {' and no '.join(missing)}: these tokens are counted as "
        "free"
    )
