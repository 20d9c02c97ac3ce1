"""The studies of benchmarks/: what they put before sartor is what their docstrings say."""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sartor import project
from sartor.data.collect import collect

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    """study(name): the script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module


def test_new_prices_change_the_catalogues_prices_and_nothing_else(
    study: Any, tmp_path: Path
) -> None:
    verdicts = study("verdicts")
    source = ROOT / "src" / "sartor" / "starters" / "ecommerce" / "documents"
    verdicts.write_catalogue(source, tmp_path / "old", lambda price, _: price)
    verdicts.write_catalogue(source, tmp_path / "new", verdicts.raised)
    for path in sorted((tmp_path / "old").iterdir()):
        assert path.read_bytes() == (source / path.name).read_bytes()
    old, new = (_texts(tmp_path / name) for name in ("old", "new"))
    assert len(old) > 900
    assert old.keys() == new.keys()
    for id, text in old.items():
        before, after = (PRICE.findall(t) for t in (text, new[id]))
        assert 1.025 < float(after[0]) / float(before[0]) < 1.125
        assert PRICE.sub("", text) == PRICE.sub("", new[id])


PRICE = re.compile(r"^(?:price: \$?|\$)(\d+\.?\d*)$", re.MULTILINE)


def _texts(folder: Path) -> dict[str, str]:
    return {one.id: one.text for one in collect(folder, ["."], []).documents}


def test_only_held_out_answers_are_corrected(study: Any) -> None:
    verdicts = study("verdicts")
    row = {"id": "a", "output": "$100.00", "document_ids": ["p1"]}
    assert verdicts.corrected(row, {"b"}) == row
    made = verdicts.corrected(row, {"a"})
    assert made["output"] == "$" + verdicts.raised("100.00", "p1") != "$100.00"


def test_the_studies_write_projects_that_sartor_reads(study: Any, tmp_path: Path) -> None:
    study("e2e").project(tmp_path, 3, 400, 3)
    seeds = {one.name: one.seeds for one in project.read(tmp_path).customize.candidates}
    assert seeds["prefix-tuning"] == seeds["full"] == (0, 1, 2)
    study("verdicts").project(tmp_path, tmp_path, ["fields", "label"], ["rag", "rag+lora"], 30)
    read = project.read(tmp_path)
    assert set(read.techniques) == {"lora"}
    assert read.evaluate.scorers == ("fields", "label")
    assert read.criteria.scorer == "fields"


@pytest.mark.parametrize("arguments", [["e2e"], ["verdicts", "facts"], ["verdicts", "style"]])
def test_without_the_data_a_study_says_so_and_prints_nothing(
    study: Any, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", [*arguments, "--data", str(tmp_path)])
    study(arguments[0]).main()
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing to do" in said.err


def test_rows_keep_all_references(study: Any, tmp_path: Path) -> None:
    rows = [{"id": "a", "input": "?", "output": "x", "references": ["x", "y"], "mr": "z"}]
    study("deciding").write_rows(tmp_path / "e.jsonl", rows, ("id", "output", "references"))
    [read] = map(json.loads, (tmp_path / "e.jsonl").read_text("utf-8").splitlines())
    assert read == {"id": "a", "output": "x", "references": ["x", "y"]}
