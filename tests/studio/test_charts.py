"""Axes hold all values, and names on the plot cover neither one another nor a point."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from sartor.studio.labels import Anchor, Box, mark_box, place_labels
from sartor.studio.scale import cost_axis, score_axis

FRAME = Box(0, 0, 900, 400)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_the_score_axis_holds_all_scores_and_is_never_narrow(scores: list[float]) -> None:
    axis = score_axis(scores)
    assert axis.low <= min(scores) + 1e-6
    assert axis.high >= max(scores) - 1e-6
    assert axis.high - axis.low > 0.099
    assert 2 <= len(axis.ticks) <= 12


def test_the_score_axis_ends_on_round_ticks() -> None:
    assert score_axis([0.61, 0.72]).ticks == (0.6, 0.65, 0.7, 0.75)


@given(st.lists(st.floats(1e-9, 1e6), min_size=1))
def test_the_cost_axis_holds_all_costs(costs: list[float]) -> None:
    axis = cost_axis(costs)
    assert axis is not None
    assert axis.low <= min(costs)
    assert max(costs) <= axis.high
    assert 1 <= len(axis.ticks) <= 8
    assert all(0 <= axis.at(cost) <= 1 for cost in costs)


def test_equal_ratios_are_equally_far_apart_on_the_cost_axis() -> None:
    axis = cost_axis([0.01, 0.1, 1.0])
    assert axis is not None
    first, second, third = (axis.at(cost) for cost in (0.01, 0.1, 1.0))
    assert abs((second - first) - (third - second)) < 1e-9


def test_what_is_free_has_no_logarithm() -> None:
    assert cost_axis([0.0, 0.0]) is None


@given(
    st.lists(st.tuples(st.floats(20, 880), st.floats(20, 380)), min_size=1, max_size=30),
    st.text(max_size=30),
)
def test_names_cover_neither_each_other_nor_points(
    places: list[tuple[float, float]], name: str
) -> None:
    labels = place_labels([Anchor(x, y, (name, "#1")) for x, y in places], FRAME)
    boxes = [label.box for label in labels if label]
    assert not any(one.meets(other) for one, other in combinations(boxes, 2))
    assert not any(box.meets(mark_box(x, y)) for box in boxes for x, y in places)
    assert all(box.inside(FRAME) for box in boxes)


def test_a_name_that_does_not_fit_gives_way_to_a_number() -> None:
    [label] = place_labels([Anchor(50, 50, ("a name far too long", "#1"))], Box(0, 0, 100, 100))
    assert label is not None
    assert label.text == "#1"
