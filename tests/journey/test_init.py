"""`sartor init`: a project from a starter or from one's own data."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from tests.journey.small_shop import Sartor

from sartor import project
from sartor.errors import DataError, ProjectError, SettingError
from sartor.journey import Project
from sartor.new_project import create
from sartor.project import CANDIDATES


def test_a_project_of_ones_own_data_names_it_wherever_it_lies(shop: Path, tmp_path: Path) -> None:
    path = create(
        tmp_path / "new",
        documents=[shop / "products.csv"],
        examples=[shop / "examples.jsonl"],
        candidates=["rag", "rag+lora"],
    )
    made = project.read(path.parent)
    assert made.data.documents == (str(shop / "products.csv"),)
    assert [one.technique for one in made.customize.candidates] == ["rag", "rag+lora"]
    assert Project.open(path.parent).trials()


def test_data_inside_the_project_is_named_relative_to_it(shop: Path) -> None:
    (shop / "sartor.toml").unlink()
    create(shop, examples=[shop / "examples.jsonl"])
    assert project.read(shop).data.examples == ("examples.jsonl",)


def test_the_starter_is_a_whole_project_with_every_candidate(tmp_path: Path) -> None:
    path = create(tmp_path / "shop", use_case="ecommerce")
    made = project.read(path.parent)
    assert [one.name for one in made.customize.candidates] == list(CANDIDATES)
    assert all(
        (path.parent / name).exists() for name in (*made.data.documents, *made.data.examples)
    )


def test_names_that_toml_must_quote_survive(shop: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a "quoted" \\ name\x7f'
    create(odd, examples=[shop / "examples.jsonl"])
    assert tomllib.loads((odd / "sartor.toml").read_text("utf-8"))["project"]["name"] == odd.name


def test_what_is_there_already_is_not_touched(shop: Path) -> None:
    before = (shop / "sartor.toml").read_text()
    with pytest.raises(ProjectError, match="is there already"):
        create(shop, examples=[shop / "examples.jsonl"])
    assert (shop / "sartor.toml").read_text() == before


def test_mistakes_are_refused_before_anything_is_written(shop: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    examples = [shop / "examples.jsonl"]
    with pytest.raises(SettingError, match="did you mean 'lora'"):
        create(new, examples=examples, candidates=["loar"])
    with pytest.raises(DataError, match="--examples"):
        create(new, examples=[shop / "nothing.jsonl"])
    with pytest.raises(ProjectError, match="nothing to start from"):
        create(new)
    with pytest.raises(ProjectError, match="not both"):
        create(new, use_case="ecommerce", examples=examples)
    assert not new.exists()


def test_the_command_line_takes_what_the_documentation_says(
    shop: Path, tmp_path: Path, sartor: Sartor
) -> None:
    done = sartor(
        "init", str(tmp_path / "new"), "--documents", str(shop / "products.csv"),
        "--examples", str(shop / "examples.jsonl"), "--candidates", "zero-shot,rag", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "sartor.toml").is_file()
