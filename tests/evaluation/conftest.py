"""A small world to evaluate in: reports whose scores are planted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from sartor.data.records import Example, Message
from sartor.evaluation.records import Measured, Prediction, Report, Score
from sartor.evaluation.report import report
from sartor.models.language_model import Completion

MEASURED = Measured("lora", "thimble", 0.1, 1.0, 0, 1.0, 10**9)


class Planted:
    """Scores an answer by the number that it says; says nothing of an empty one."""

    name: ClassVar[str] = "planted"
    binary: ClassVar[bool] = False

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        said = [(p.example.id, p.completion.text) for p in predictions]
        return [Score(id, self.name, float(text)) for id, text in said if text]


def _planted(
    name: str,
    values: Sequence[float | None],
    cost: float = 1.0,
    parameters: int = 0,
    groups: Sequence[str] = (),
    seconds: float = 0.1,
) -> Report:
    asked = (Message("user", "?"),)
    predictions = []
    for i, value in enumerate(values):
        group, tags = groups[i] if groups else "", ("odd",) if i % 2 else ("even",)
        example = Example(f"e{i}", asked, ("1",), group=group, tags=tags)
        said = "" if value is None else str(float(value))
        predictions.append(Prediction(example, Completion(said, "stop", 3, 1, 0.1)))
    found = replace(
        MEASURED, cost_per_answer=cost, trainable_parameters=parameters, seconds_per_answer=seconds
    )
    return report(name, found, predictions, [Planted()])


@pytest.fixture(scope="session")
def planted() -> Callable[..., Report]:
    """planted(name, values, cost=, parameters=, groups=, seconds=): scores as given."""
    return _planted
