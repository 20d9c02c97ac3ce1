"""Numbers on the report have few digits, a unit and a real minus sign."""

from __future__ import annotations

import math

import pytest

from sartor.studio import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.713, "71.3"), (0.0, "0.0"), (1.0, "100.0"), (None, "—"), (math.nan, "—")],
)
def test_scores_are_shown_out_of_a_hundred(value: float | None, text: str) -> None:
    assert figures.score(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.012, "+1.2"), (-0.05, "\u22125.0"), (0.0, "0.0"), (-0.0001, "0.0")]
)
def test_differences_carry_a_sign_only_where_there_is_one(value: float, text: str) -> None:
    assert figures.difference(value) == text


@pytest.mark.parametrize(
    ("per_answer", "text"),
    [
        (0.0, "$0"),
        (0.000066, "$0.066"),
        (0.00004, "$0.040"),
        (0.0025, "$2.50"),
        (1.2345, "$1,230"),
        (math.inf, "—"),
        (None, "—"),
    ],
)
def test_costs_are_for_a_thousand_answers(per_answer: float | None, text: str) -> None:
    assert figures.cost_per_thousand(per_answer, "$") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 s"), (0.042, "0.042 s"), (0.2, "0.20 s"), (1.26, "1.3 s")]
)
def test_answers_take_seconds(value: float, text: str) -> None:
    assert figures.seconds(value).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "none"),
        (4.25, "4.2 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (90_061, "1 d 1 h"),
    ],
)
def test_training_takes_two_units_at_most(value: float, text: str) -> None:
    assert figures.duration(value).replace("\u00a0", " ") == text


def test_memory_and_parameters_have_units() -> None:
    told = [figures.memory(812 * 2**20), figures.memory(24 * 2**30), figures.memory(0)]
    told += [figures.parameters(count) for count in (0, 33_000, 12_582_912, 1_540_000_000)]
    assert [text.replace("\u00a0", " ") for text in told] == [
        "812 MiB",
        "24 GiB",
        "—",
        "0",
        "33,000",
        "12.6 M",
        "1.54 B",
    ]


def test_a_currency_shows_its_sign_or_keeps_its_code_apart() -> None:
    assert figures.money(2.5, "USD") == "$2.50"
    assert figures.money(2.5, "\u20ac") == "\u20ac2.50"
    assert figures.cost_per_thousand(0.00025, "CHF") == "CHF\u00a00.25"
