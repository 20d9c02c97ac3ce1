"""Scorers of the user's own: whatever they do is told as theirs, and where."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sartor.cli.app import shown
from sartor.data.records import Example, Message
from sartor.errors import SettingError
from sartor.evaluation.records import Measured, Prediction, Report
from sartor.evaluation.report import report
from sartor.evaluation.scorers.place import Place
from sartor.evaluation.scorers.registry import load_scorer
from sartor.models.language_model import Completion

METRICS = """
from sartor.evaluation.records import Score

print("imported")
def throws(output, targets): return {}["gone"]
def leaves(output, targets): raise SystemExit(3)
def nan(output, targets): return float("nan")
def much(output, targets): return 7
def words(output, targets): return "yes"
def polite(output, targets):
    print("scored")
    return "please" in output

class Own:
    name, binary = "own", False
    def score(self, predictions): return []

class Twice(Own):
    def score(self, predictions): return [Score(p.example.id, "own", 0.5) for p in predictions] * 2

class Stranger(Own):
    def score(self, predictions): return [Score("nobody", "own", 0.5)]

class Nothing(Own):
    def score(self, predictions): return None

class Numbers(Own):
    def score(self, predictions): return [1.0 for _ in predictions]

class Throws(Own):
    def score(self, predictions): return 1 / 0

class ThrowsInNote(Own):
    def note(self, predictions, scores): raise KeyError("no note")

class ThrowsWhenMade(Own):
    def __init__(self): raise RuntimeError("no model there")
"""


def scored(folder: Path, name: str) -> Report:
    (folder / "metrics.py").write_text(METRICS)
    made = [
        Prediction(
            Example(f"e{n}", (Message("user", "?"),), ("x",)),
            Completion("please", "stop", 1, 1, 0.1),
        )
        for n in range(3)
    ]
    scorer = load_scorer(f"metrics.py:{name}", {}, Place(folder))
    return report("a", Measured("given", "m", None, None, 0, 0.0, 0), made, [scorer])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "throws",
            r"throws failed on 'e0': KeyError\('gone'\) \(.*metrics.py:5\). Mend",
        ),
        ("leaves", r"metrics.py:leaves failed on 'e0': SystemExit\(3\)"),
        ("nan", "'e0' got nan; expected 0 to 1. Mend"),
        ("much", "'e0' got 7.0; expected 0 to 1. Mend"),
        ("words", "returned 'yes'; expected a number from 0 to 1, or None"),
        ("Twice", "at most one score for each example"),
        ("Stranger", "a score named 'own' for 'nobody'"),
        ("Nothing", "returned NoneType; expected a list of Score"),
        ("Numbers", "returned list; expected a list of Score"),
        ("Throws", r"scorer own failed: ZeroDivisionError\('division by zero'\) \(.*metrics.py:"),
        ("ThrowsInNote", r"scorer own failed: KeyError\('no note'\)"),
        ("ThrowsWhenMade", "cannot be made with the settings .*: no model there"),
    ],
)
def test_what_goes_wrong_in_it_is_a_mistake_of_the_users(
    tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        scored(tmp_path, name)


def test_what_it_prints_does_not_mix_with_what_programs_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with shown():
        found = scored(tmp_path, "polite")
    print("{}", file=sys.stdout)
    told = capsys.readouterr()
    assert found.estimates["metrics.py:polite"].mean == 1
    assert told.out == "{}\n"
    assert told.err.split() == ["imported", *["scored"] * 3]
