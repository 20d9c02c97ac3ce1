"""What is said of a wrong key of sartor.toml, wherever it stands and whatever it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sartor.errors import ProjectError
from sartor.project.reading import parse, read


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"bool": 1}, r"^here: unknown key 'bool'; known: .*customize"),
        ({"str": {"a": 1}}, r"^here: unknown key 'str'; known: "),
        ({"modl[s]": 1}, r"^here: unknown key 'modl\[s\]'; "),
        ({"modl": {}}, r"^here: unknown key 'modl'; did you mean 'model'\?"),
        ({"model": {"bool": 1}}, r"^here: \[model\] unknown key 'bool'; known: base, "),
        ({"model": {"bas[e": 1}}, r"^here: \[model\] unknown key 'bas\[e'; did you mean 'base'\?"),
        ({"model": {"trust_remote_code": 7}}, r"^here: \[model\] trust_remote_code is 7"),
        ({"models": ["a"], "model": {"models": ["b"]}}, "at the top and under .model.. Keep one"),
    ],
)
def test_a_wrong_key_is_named_where_it_stands(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        parse({"data": {"examples": "e.jsonl"}, **tables}, "here")


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"model": {"ladder": "maybe"}}, "ladder is 'maybe': expected true or false; write it so"),
        ({"data": {"examples": 3}}, r"examples is 3: expected a list; put it in brackets"),
        ({"evaluate": {"batch_size": "x"}}, "batch_size is 'x': expected a whole number; write"),
        ({"project": {"seed": 1.5}}, "seed is 1.5: expected a whole number; write its digits"),
        ({"data": {"examples": "e", "max_test": True}}, "max_test is true; expected a number: wr"),
        ({"criteria": {"margin": False}}, "margin is false; expected a number: write its digits"),
        ({"criteria": {"margin": [1]}}, r"margin is \[1\]: expected a number; write it without"),
        ({"evaluate": {"batch_size": 0}}, "batch_size is 0: expected 1 or more; give that, or"),
        ({"cost": {"currency": 3}}, "currency is 3: expected a text; put it in quotes, such as"),
        ({"model": 3}, r"\[model\] is 3: expected a table; begin it with its name in brackets"),
        ({"techniques": {"lora": 3}}, r"lora is 3: expected a table; begin it with its name"),
        ({"remote": {"a": {"model": "m"}}}, "a.endpoint is missing; .*: add `endpoint = ...`"),
        (
            {"remote": {"a": {"endpoint": "http://a", "model": "m", "token_limit": "most"}}},
            "token_limit is 'most': expected 'max_tokens' or .*; give one of these, or leave",
        ),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected_and_what_to_write(
    tables: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProjectError, match=said):
        parse({"data": {"examples": "e.jsonl"}, **tables}, "here")


def test_a_file_that_is_no_toml_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "sartor.toml").write_text("[data\nexamples = 3")
    with pytest.raises(ProjectError, match=r"not valid TOML: .*line 1.*\. Mend it there: texts"):
        read(tmp_path)


def test_a_wrong_entry_is_told_once() -> None:
    with pytest.raises(
        ProjectError, match=r"^here: \[data\] examples.0 is 3: expected a text; [^;]*$"
    ):
        parse({"data": {"examples": [3]}}, "here")
