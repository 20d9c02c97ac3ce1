"""Answers made elsewhere: read strictly, kept, and judged like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from sartor.data.records import Example, Message
from sartor.errors import DataError
from sartor.evaluation.decide import decide
from sartor.evaluation.given import Given, keep, kept, read_outputs, refuse_twin
from sartor.evaluation.records import Criteria, Measured
from sartor.evaluation.report import report
from sartor.evaluation.scorers.registry import load_scorer

TEST = [Example(f"e{n}", (Message("user", f"{n}?"),), (str(n),)) for n in range(3)]


def written(folder: Path, *lines: str) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


GOOD = [f'{{"id": "e{n}", "output": "{n}"}}' for n in range(3)]


def test_answers_are_read_by_id_and_those_to_other_parts_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, '{"id": "t1", "output": "?"}', *reversed(GOOD), "")
    assert read_outputs(path, TEST, {"t1"}) == ({"e0": "0", "e1": "1", "e2": "2"}, 1)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([*GOOD, GOOD[1]], r"jsonl:4: id 'e1' was answered on line 2 already"),
        ([*GOOD, '{"id": "e9", "output": ""}'], r"jsonl:4: no example has the id 'e9'"),
        (GOOD[:2], r"answers 2 of 3 test examples; 1 have no answer \(first: 'e2'\)"),
        (["{"], r"jsonl:1: not valid JSON"),
        (["[1]"], r"jsonl:1: not an object"),
        (['{"id": "e0"}'], r"jsonl:1: it has no 'output'"),
        (['{"id": "e0", "output": 3}'], r"jsonl:1: its output is 3; expected a text"),
        (['{"id": true, "output": ""}'], r"jsonl:1: its id is true; expected a text"),
        (['{"id": "e0", "output": null}'], r"jsonl:1: its output is null; expected a text, empty"),
        ([r'{"id": "e0", "output": "\ud83d"}'], r"jsonl:1: it has half of a character"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_line(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_outputs(written(tmp_path, *lines), TEST, set())


def test_what_is_kept_is_found_again_and_replaced_by_name(tmp_path: Path) -> None:
    assert kept(tmp_path) == []
    keep(tmp_path, Given("gpt", {"e0": "a"}))
    keep(tmp_path, second := Given("gpt", {"e0": "b"}, 1.5, 0.01))
    assert kept(tmp_path) == [second]


def test_a_candidate_of_unknown_cost_is_never_called_the_cheapest() -> None:
    test = [Example(f"e{n}", (Message("user", "?"),), ("yes",)) for n in range(300)]
    answers = Given("elsewhere", {one.id: "yes" for one in test})
    scorers = [load_scorer("exact_match")]
    priced = Measured("rag", "thimble", 0.1, 9.0, 0, 0.0, 0)
    reports = [
        report("elsewhere", answers.measured, answers.predictions(test), scorers),
        report("rag", priced, answers.predictions(test), scorers),
    ]
    assert decide(reports, Criteria("exact_match", 0.05), seed=0).winner == "rag"
    limited = decide(reports[:1], Criteria("exact_match", 0.05, max_cost=1.0), seed=0)
    assert limited.winner is None
    assert "cost an answer: not known, and the limit is 1" in limited.reason


def test_answers_are_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, Given("clerk", {"e0": "0"}))
    keep(tmp_path, Given("clerk", {"e0": "1"}))
    assert [(one.name, one.outputs) for one in kept(tmp_path)] == [("clerk", {"e0": "1"})]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left"):
        keep(tmp_path, Given("clerk", {"e0": "2"}))
    assert [one.outputs for one in kept(tmp_path)] == [{"e0": "1"}]


def test_a_name_that_differs_in_capitals_only_is_refused(tmp_path: Path) -> None:
    keep(tmp_path, Given("GPT", {"e0": "a"}))
    refuse_twin(tmp_path, "GPT")
    refuse_twin(tmp_path, "gpt-2")
    with pytest.raises(DataError, match="kept under 'GPT', which differs from 'gpt' in capitals"):
        refuse_twin(tmp_path, "gpt")
