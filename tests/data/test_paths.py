"""Entries that name nothing: each is an error that names the key, the entry, and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sartor.data.collect import collect
from sartor.data.paths import located, printable
from sartor.data.sources import fingerprint
from sartor.errors import DataError


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("***", r"\*\*\* is no pattern .*notes/\*\*/\*\.md"),
        ("docs/**y/*.jsonl", r"docs/\*\*y/\*\.jsonl is no pattern"),
        ("~nosuchuser/x", "~nosuchuser/x names a user without a home directory"),
        ("x" * 300, r"x{60}\.\.\. \(300 characters\) is longer than a name may be"),
        ("x" * 300 + "*", r".*\(301 characters\) is longer than a name may be"),
        ("loop", "loop is a loop of links"),
        ("loop/*.md", r"loop/\*\.md is a loop of links"),
        ("", 'is empty. Name a file or folder; "." is the folder of the project'),
        ("  ", "is empty"),
        ("a\0b", r"'a\\x00b' is no path"),
    ],
)
def test_an_entry_that_no_file_system_can_follow_is_an_error(
    tmp_path: Path, entry: str, said: str
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    with pytest.raises(DataError, match=f"documents: {said}"):
        collect(tmp_path, [entry], [])
    with pytest.raises(DataError, match=f"examples: {said}"):
        collect(tmp_path, [], [entry])
    with pytest.raises(DataError, match=f"examples: {said}"):
        fingerprint(tmp_path, [], [entry])


def test_a_pattern_below_a_folder_that_is_absolute_and_wrong_is_an_error(tmp_path: Path) -> None:
    entry = f"{tmp_path}/**y/*.jsonl"
    with pytest.raises(DataError, match=r"is no pattern"):
        collect(tmp_path, [], [entry])


def test_home_and_links_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("Text.", "utf-8")
    (tmp_path / "link").symlink_to("docs")
    assert located("~/link/a.md", "documents") == (tmp_path / "docs" / "a.md").resolve()
    assert located("link/none", "documents", tmp_path) == (tmp_path / "docs" / "none").resolve()
    assert [one.id for one in collect(tmp_path / "docs", ["~/docs/*.md"], []).documents] == ["a"]


def test_the_folder_of_a_project_may_hold_the_marks_of_a_pattern(tmp_path: Path) -> None:
    project = tmp_path / "shop [new]*"
    project.mkdir()
    (project / "a.md").write_text("Text.", "utf-8")
    assert [one.source for one in collect(project, ["*.md"], []).documents] == ["a.md"]


def test_a_name_that_is_not_utf_8_is_printed_with_its_bytes() -> None:
    assert printable(os.fsdecode(b"bad\xff.md")) == r"bad\xff.md"
    with pytest.raises(DataError, match=r"documents: bad\\xff\.md has a name that is not UTF-8"):
        located(os.fsdecode(b"bad\xff.md"), "documents")


def test_what_sartor_writes_in_a_project_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "report.html").write_text("<p>The report of 1998.</p>")
    (tmp_path / "sartor.toml").write_text("[project]\n")
    before = fingerprint(tmp_path, ["."], [])
    (tmp_path / "report.html").write_text("<p>Question and right answer.</p>")
    assert fingerprint(tmp_path, ["."], []) == before
    [document] = collect(tmp_path, [".", "*.html"], []).documents
    assert document.source == "notes/report.html"
