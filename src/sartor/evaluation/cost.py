"""What an answer costs: the seconds or the tokens it takes, and its share of what training took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from sartor.evaluation.records import Report
from sartor.models.language_model import Completion
from sartor.project import Cost, Remote

HOUR = 3600.0


def cost_per_answer(seconds: float, training_seconds: float, prices: Cost) -> float:
    """In the project's currency; training is spread over the expected requests."""
    return seconds * prices.machine_per_hour / HOUR + _share_of_training(training_seconds, prices)


def remote_cost_per_answer(
    answers: Sequence[Completion], remote: Remote, training_seconds: float, prices: Cost
) -> float:
    """The same of a remote model: the provider's tokens at its prices. The machine that waits for
    the answers has other things to do, and is not counted."""
    tokens = fmean(remote.price(each.prompt_tokens, each.new_tokens) for each in answers)
    return tokens + _share_of_training(training_seconds, prices)


def _share_of_training(seconds: float, prices: Cost) -> float:
    return training_cost(seconds, prices) / prices.expected_requests


def price_of(report: Report) -> float:
    """Of an answer, to be compared with others; infinite where nobody knows it."""
    cost = report.measured.cost_per_answer
    return math.inf if cost is None else cost


def training_cost(seconds: float, prices: Cost) -> float:
    """Of so many seconds on the machine that trains, in the project's currency."""
    price = prices.training_machine_per_hour
    return seconds * (prices.machine_per_hour if price is None else price) / HOUR
