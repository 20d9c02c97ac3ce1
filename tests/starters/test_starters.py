"""Starter projects: small, whole, and made by the script that says so."""

from __future__ import annotations

import json
import os
import random
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sartor import starters
from sartor.errors import ProjectError

ROOT = Path(__file__).resolve().parents[2]
STARTER = starters.FOLDER / "ecommerce"
ORIGINALS = ROOT.parent / "shared" / "data" / "ecommerce"


def examples() -> list[dict[str, Any]]:
    lines = (STARTER / "examples.jsonl").read_bytes().decode().split("\n")
    return [json.loads(line) for line in lines if line]


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_there_is_a_shop_to_start_from() -> None:
    assert "ecommerce" in starters.names()


def test_a_copy_is_the_starter_and_can_be_written_to(tmp_path: Path) -> None:
    starters.copy("ecommerce", tmp_path / "new" / "shop")
    assert contents(tmp_path / "new" / "shop") == contents(STARTER)
    (tmp_path / "new" / "shop" / "examples.jsonl").write_text("mine now")


def test_a_copy_may_go_into_an_empty_folder(tmp_path: Path) -> None:
    starters.copy("ecommerce", tmp_path)
    assert (tmp_path / "examples.jsonl").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ProjectError, match=r"is not empty.*Give an empty folder"):
        starters.copy("ecommerce", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


INTERRUPTED = """
import os, runpy, signal, sys

def press(event, arguments):
    if event == "open" and str(arguments[0]).endswith("shop/examples.jsonl"):
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(press)
runpy.run_module("sartor", run_name="__main__")
"""
"""Ctrl-C as soon as the copy of the examples is opened."""


def test_a_copy_that_was_interrupted_can_be_made_again(tmp_path: Path) -> None:
    shop = tmp_path / "new" / "shop"
    words = ["init", str(shop), "--use-case", "ecommerce"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert list(tmp_path.iterdir()) == []
    starters.copy("ecommerce", shop)
    assert contents(shop) == contents(STARTER)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders there")
def test_what_cannot_be_copied_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "examples.jsonl").write_text("")
    os.mkfifo(tmp_path / "odd" / "pipe")
    monkeypatch.setattr(starters, "FOLDER", tmp_path)
    with pytest.raises(ProjectError, match=r"to .*new: `.*pipe` is a named pipe\. Free some"):
        starters.copy("odd", tmp_path / "new")


def test_an_unknown_starter_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"no starter 'shop'.*ecommerce"):
        starters.copy("shop", tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "../starters/ecommerce"])
def test_a_starter_is_not_a_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="there is no starter"):
        starters.copy(name, tmp_path)


def test_a_file_is_no_place_for_a_starter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for destination in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ProjectError, match="folder"):
            starters.copy("ecommerce", destination)


def test_the_shop_is_small_and_has_every_format() -> None:
    files = contents(STARTER)
    assert sum(map(len, files.values())) < 2_000_000
    suffixes = Counter(Path(name).suffix for name in files if name.startswith("documents/"))
    assert set(suffixes) == {".csv", ".xml", ".html", ".jsonl", ".md"}
    assert suffixes[".md"] == 20
    assert "MIT-0" in files["ATTRIBUTION.md"].decode()


def test_every_question_is_about_something_that_is_there() -> None:
    text = b"".join(contents(STARTER / "documents").values()).decode()
    manuals = {path.stem for path in (STARTER / "documents").glob("manual-*.md")}
    named = {id for row in examples() for id in row.get("document_ids", ())}
    assert len(named) > 300
    assert {id for id in named if id not in manuals and id not in text} == set()


def test_questions_are_whole_different_and_balanced() -> None:
    rows = examples()
    assert 900 <= len(rows) <= 1100
    assert len({row["id"] for row in rows}) == len({row["input"] for row in rows})
    assert all(row["input"] and row["output"] and row["label"] for row in rows)
    kinds = Counter(row["label"] for row in rows)
    assert len(kinds) == 9
    assert max(kinds.values()) <= 200


def test_a_fifth_of_the_groups_is_enough_to_test_on() -> None:
    groups = Counter((row.get("document_ids") or [row["id"]])[0] for row in examples())
    total = sum(groups.values())
    for seed in range(20):
        order = sorted(groups)
        random.Random(seed).shuffle(order)
        test = 0
        while test < 0.2 * total:
            test += groups[order.pop()]
        assert 180 <= test <= 240


@pytest.mark.skipif(not ORIGINALS.exists(), reason=f"the originals are not at {ORIGINALS}")
def test_the_script_makes_the_very_files_we_ship(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "make_starter.py"))
    script["make"](ORIGINALS, tmp_path)
    shipped = contents(STARTER)
    assert contents(tmp_path) == {name: shipped[name] for name in contents(tmp_path)}
    assert set(shipped) - set(contents(tmp_path)) <= {"sartor.toml"}
