"""The report as Markdown, CSV and a model card: the same numbers, read back by others' parsers."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from tests.studio.test_page import HOSTILE, against, decided, example, report, summed_up

from sartor.evaluation.mistakes import Mistake
from sartor.studio.export import Told, exported


def told(name: str = "rag") -> Told:
    reports = tuple(report(one, mean, examples=[example(1)]) for one, mean in
                    ((name, 0.7), ("lora", 0.5)))  # fmt: skip
    mistake = Mistake("e1", HOSTILE, "$1", "a | b\n\n# c", 0.25, "")
    summary = replace(summed_up(), mistakes=(mistake,), subject=name)
    return Told(
        "Shop", decided(name, name, against("lora", "worse", name)), reports, summary, "USD"
    )


def test_markdown_says_the_verdict_first_and_escapes_what_users_wrote() -> None:
    text = exported(told(), "md")
    assert text.startswith("# Ship rag.\n")
    assert "| lora | 0.500 (0.450 to 0.550) | -0.010 (-0.020 to +0.010) | 0.4 |" in text
    assert "With a margin of 0.2, lora would win." in text
    assert "<script>" not in text
    assert "| 0.25 |" in text
    assert "a \\| b \\# c" in text


def test_csv_holds_every_estimate_unrounded_and_begins_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(exported(told("=1+1"), "csv"))))
    assert {row["candidate"] for row in rows} == {"'=1+1", "lora"}
    whole = [row for row in rows if row["candidate"] == "lora" and not row["slice"]]
    assert {row["scorer"]: float(row["mean"]) for row in whole} == {
        "exact_match": 0.5, "rouge_l": 0.5,
    }  # fmt: skip
    [decides] = [row for row in whole if row["scorer"] == "exact_match"]
    assert (float(decides["difference"]), float(decides["p"])) == (-0.01, 0.4)
    assert "price" in {row["slice"] for row in rows}


def test_the_model_card_is_read_by_hugging_faces_own_parser() -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    card = huggingface_hub.ModelCard(exported(told(), "model-card"))
    results = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert results == {"exact_match": 0.7, "rouge_l": 0.7}
    assert card.data.model_name == "rag"
    assert "# Shop: rag" in card.text


@pytest.mark.parametrize("form", ["md", "csv", "model-card"])
def test_no_export_holds_what_moves_a_terminals_cursor(form: str) -> None:
    one = told("\x1b[2Jrag\x07\u202e\x9b1m")
    worst = replace(one.summary.mistakes[0], output="\x1b]0;title\x07\x1b[31mred", id="e\x1b[A")
    text = exported(replace(one, summary=replace(one.summary, mistakes=(worst,))), form)
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(text)
    assert "\ufffd" in text
