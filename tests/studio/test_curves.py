"""Learning curves in the report: where their points stand, and what they say."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.studio.test_page import decided, page, report

from sartor.studio.curves import Curve, charts, even_axis
from sartor.studio.page import render

LOOKS = ((10, 4.0, 3.0), (20, 2.0, 1.5), (30, 1.0, 2.5))
LORA = Curve("lora", 2e-3, kept=20, tokens=12_345, halvings=0, looks=LOOKS)


def test_points_stand_where_axes_say() -> None:
    [chart] = charts([LORA])
    frame = chart.frame
    assert [mark.label for mark in chart.up] == ["1", "2", "3", "4"]
    for points, column in ((chart.training, 1), (chart.validation, 2)):
        for point, look in zip(points, LOOKS, strict=True):
            across = (point.x - frame.left) / (frame.right - frame.left)
            up = (frame.bottom - point.y) / (frame.bottom - frame.top)
            assert across == pytest.approx(look[0] / 30, abs=1e-3)
            assert up == pytest.approx((look[column] - 1) / 3, abs=1e-3)
    assert chart.kept is not None
    assert (chart.kept.x, chart.kept.y) == (chart.validation[1].x, chart.validation[1].y)
    assert chart.told.endswith("validation loss best at step 20, 1.500")


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_the_axis_holds_all_losses_and_has_few_round_ticks(low: float, width: float) -> None:
    axis = even_axis(low, low + width)
    assert axis.low <= low + 1e-6
    assert axis.high >= low + width - 1e-6
    assert 2 <= len(axis.ticks) <= 8


def test_losses_that_are_no_numbers_are_left_out_and_one_look_is_drawn() -> None:
    broken = replace(LORA, looks=((10, 4.0, math.nan), (20, 2.0, 1.5)))
    [chart] = charts([broken])
    assert [len(chart.training), len(chart.validation)] == [2, 1]
    [alone] = charts([replace(LORA, looks=((5, 1.0, 1.0),), kept=5)])
    assert alone.kept is not None
    assert charts([replace(LORA, looks=())]) == []


def test_the_report_shows_the_curve_of_every_trained_candidate() -> None:
    shown = page(decided("rag", "rag"), report("rag", 0.8), report("lora", 0.7))
    assert "How training went" not in render(shown)
    halved = replace(LORA, candidate="<b>full</b>", halvings=2)
    text = render(replace(shown, curves=(LORA, halved)))
    assert 'href="#training"' in text
    assert len(re.findall(r'<svg class="curve"', text)) == 2
    assert "Training loss from 4.000 to 1.000 over 30 steps" in text
    assert "learning rate 0.002; 12,345 tokens" in text
    assert "halved 2 times after steps that broke" in text
    assert "<b>full</b>" not in text
    assert "&lt;b&gt;full&lt;/b&gt;" in text


def test_training_and_validation_differ_in_shape_not_in_colour_alone() -> None:
    text = render(replace(page(decided(None, None), report("lora", 0.7)), curves=(LORA,)))
    [chart] = re.findall(r'<svg class="curve".*?</svg>', text, re.DOTALL)
    assert len(re.findall("<circle class=.mark", chart)) == len(LOOKS)
    assert len(re.findall("<path class=.mark held", chart)) == len(LOOKS)
    assert re.search(r"\.trained \{[^}]*stroke-dasharray", text)
    assert not re.search(r"path\.held \{[^}]*stroke-dasharray", text)
