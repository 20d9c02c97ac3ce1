"""What an answer costs: the seconds it takes, and its share of what training took."""

from __future__ import annotations

from sartor.project import Cost

HOUR = 3600.0


def cost_per_answer(seconds: float, training_seconds: float, prices: Cost) -> float:
    """In the project's currency; training is spread over the expected requests."""
    training_price = prices.training_machine_per_hour
    if training_price is None:
        training_price = prices.machine_per_hour
    training = training_seconds * training_price / HOUR / prices.expected_requests
    return seconds * prices.machine_per_hour / HOUR + training
