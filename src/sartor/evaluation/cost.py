"""What an answer costs: the seconds it takes, and its share of what training took."""

from __future__ import annotations

import math

from sartor.evaluation.records import Report
from sartor.project import Cost

HOUR = 3600.0


def cost_per_answer(seconds: float, training_seconds: float, prices: Cost) -> float:
    """In the project's currency; training is spread over the expected requests."""
    training = training_cost(training_seconds, prices) / prices.expected_requests
    return seconds * prices.machine_per_hour / HOUR + training


def price_of(report: Report) -> float:
    """Of an answer, to be compared with others; infinite where nobody knows it."""
    cost = report.measured.cost_per_answer
    return math.inf if cost is None else cost


def training_cost(seconds: float, prices: Cost) -> float:
    """Of so many seconds on the machine that trains, in the project's currency."""
    price = prices.training_machine_per_hour
    return seconds * (prices.machine_per_hour if price is None else price) / HOUR
