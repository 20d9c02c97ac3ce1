"""A report holds what was said, how it scored, and the estimates; and is read back the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from sartor.data.records import Example, Message, Passage
from sartor.errors import DataError, SettingError
from sartor.evaluation.records import Measured, Prediction, Report, Score
from sartor.evaluation.report import load, report, save
from sartor.evaluation.scorers.registry import SCORERS, load_scorer
from sartor.models.language_model import Completion

MEASURED = Measured("rag", "thimble", 0.2, 0.001, 0, 0.0, 10**9)


def small() -> Report:
    asked = (Message("system", "Be brief."), Message("user", "How long?\u2028"))
    given = (Passage("handbook", 0, 11, "Four weeks.", "Staff handbook"),)
    made = [
        Prediction(
            Example(
                f"e{i}",
                asked,
                ("four weeks", "28 days"),
                group=f"g{i // 2}",
                evidence=("handbook",),
                source=f"examples.jsonl:{i}",
                tags=("notice",),
                answerable=i != 1,
            ),
            Completion("Four weeks." if i else "I don't know.", "stop", 9, 3, 0.25, given[: i % 2]),
        )
        for i in range(6)
    ]
    return report("rag", MEASURED, made, [load_scorer(name) for name in SCORERS])


def test_it_is_read_back_the_same(tmp_path: Path) -> None:
    made = replace(small(), leaked="it has seen the test part")
    save(made, tmp_path / "reports" / "rag.json")
    assert load(tmp_path / "reports" / "rag.json") == made


def test_a_report_of_before_leaks_were_told_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rag.json"
    save(small(), path)
    saved = json.loads(path.read_text(encoding="utf-8"))
    del saved["leaked"]
    path.write_text(json.dumps(saved))
    assert load(path) == small()


def test_its_keys_are_the_documented_ones(tmp_path: Path) -> None:
    save(small(), tmp_path / "rag.json")
    saved = json.loads((tmp_path / "rag.json").read_text(encoding="utf-8"))
    assert list(saved) == [
        "format", "candidate", "measured", "estimates", "slices", "predictions", "notes",
        "forgotten", "leaked",
    ]  # fmt: skip
    row = saved["predictions"][3]
    assert row["id"] == "e3"
    assert row["input"][0] == {"role": "system", "content": "Be brief."}
    assert row["targets"] == ["four weeks", "28 days"]
    assert row["output"] == "Four weeks."
    assert row["passages"] == [
        {"document_id": "handbook", "start": 0, "end": 11, "title": "Staff handbook",
         "text": "Four weeks."}
    ]  # fmt: skip
    assert row["scores"]["exact_match"] == 1.0
    assert row["tags"] == ["notice"]
    assert (row["seconds"], row["prompt_tokens"], row["new_tokens"]) == (0.25, 9, 3)


def test_estimates_and_slices_are_means_over_the_examples() -> None:
    made = small()
    assert made.estimates["exact_match"].mean == pytest.approx(5 / 6)
    # Of three with passages, one says what its unanswerable example asks for, and claims nothing.
    assert made.estimates["groundedness"].n == 2
    assert made.slices["answerable"]["exact_match"].mean == pytest.approx(4 / 5)
    assert made.slices["notice"]["exact_match"].n == 6


def test_a_scorer_that_applies_to_none_has_no_estimate() -> None:
    bare = [Prediction(p.example, Completion("x", "stop", 1, 1, 0.1)) for p in small().predictions]
    made = report("bare", MEASURED, bare, [load_scorer("groundedness")])
    assert made.estimates == {}
    assert made.slices == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: [Score(p.example.id, "odd", 1.5)], "got 1.5; expected 0 to 1"),
        (lambda p: [Score(p.example.id, "odd", float("nan"))], "got nan; expected 0 to 1"),
        (lambda p: [Score("elsewhere", "odd", 1.0)], "for 'elsewhere'"),
        (lambda p: [Score(p.example.id, "odd", 1.0)] * 2, "at most one score"),
        (lambda p: [Score(p.example.id, "even", 1.0)], "named 'even'"),
    ],
)
def test_a_scorer_that_breaks_the_rules_is_named(
    make: Callable[[Prediction], list[Score]], message: str
) -> None:
    class Odd:
        name: ClassVar[str] = "odd"
        binary: ClassVar[bool] = False

        def score(self, predictions: Sequence[Prediction]) -> list[Score]:
            return [score for p in predictions for score in make(p)]

    with pytest.raises(SettingError, match=f"scorer odd.*{message}"):
        report("x", MEASURED, small().predictions, [Odd()])


def test_no_predictions_are_refused() -> None:
    with pytest.raises(DataError, match="no predictions"):
        report("x", MEASURED, [], [load_scorer("answered")])


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"format": 2}'])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rag.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rag\.json is not a report"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no report at .*rag\.json"):
        load(tmp_path / "rag.json")
