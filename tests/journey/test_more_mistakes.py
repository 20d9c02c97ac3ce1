"""Odd paths, odd arguments and odd values: told in a sentence, exit code 2, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journey.small_shop import Sartor, set_config

from sartor import project
from sartor.errors import ProjectError, SettingError
from sartor.evaluation.scorers.registry import load_scorer
from sartor.journey import Project
from sartor.new_project import create

LONG = "a" * 300
NOBODY = "~nosuchuser/x"


def refused(sartor: Sartor, *words: str) -> str:
    """What was told of a mistake."""
    done = sartor(*words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert "error: " in done.stderr
    return str(done.stderr)


def file_of(shop: Path, text: str) -> project.ProjectFile:
    """The shop's project file, ended with `text`."""
    path = shop / "sartor.toml"
    path.write_text(path.read_text() + text)
    return project.read(shop)


def test_paths_that_lead_nowhere_are_named(tmp_path: Path, shop: Path, sartor: Sartor) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    examples = ("--examples", str(shop / "examples.jsonl"))
    taken = tmp_path / "taken"
    taken.write_text("")
    assert f"error: {circle}: " in refused(sartor, "run", str(circle))
    assert f"error: {circle}: " in refused(sartor, "init", "new", "--documents", str(circle))
    assert f"error: {NOBODY}: " in refused(sartor, "check", NOBODY)
    assert "File name too long. Give a shorter name." in refused(sartor, "run", LONG)
    told = refused(sartor, "init", str(tmp_path / "x" / LONG), *examples)
    assert "File name too long" in told
    told = refused(sartor, "init", str(taken / "sub"), *examples)
    assert f"{taken} is a file" in told


def test_nobodys_home_in_the_project_file_is_named_by_key(shop: Path, sartor: Sartor) -> None:
    new = shop.with_name("new")
    told = refused(
        sartor, "init", str(new), "--examples", str(shop / "examples.jsonl"), "--base", NOBODY
    )
    assert "[model] base is '~nosuchuser/x': ~nosuchuser is nobody's home" in told
    with pytest.raises(ProjectError, match=r"\[model\] base is"):
        file_of(shop, f'[model]\nbase = "{NOBODY}"\n')
    set_config(shop, '["products.csv"]', f'"{NOBODY}"')
    with pytest.raises(ProjectError, match=r"\[data\] documents\S* is"):
        project.read(shop)


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are not bytes there")
@pytest.mark.parametrize("words", [[b"ask", b"bad\xff", b"k"], [b"init", b"bad\xff"]])
def test_arguments_that_are_not_utf_8_are_named(words: list[bytes]) -> None:
    command = [os.fsencode(sys.executable), b"-m", b"sartor", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(r"error: the argument b'bad\xff' is not UTF-8")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('name = "corner shop"', f"seed = {10**30}", r"\[project\] seed is 10{30}; a seed lies"),
        ('name = "corner shop"', f"seed = {2**31}", r"between 0 and 2147483647"),
        ('name = "corner shop"', "seed = -1", r"\[project\] seed is -1"),
        ("rank = 4", f"seed = {2**63}", r"\[techniques\] lora.seed is 9223372036854775808"),
        ("rank = 4", "dropout = nan", r"\[techniques\] lora.dropout is nan; give a finite"),
        ("[0.002]", "[0.002, inf]", r"\[techniques\] lora.learning_rates.1 is inf"),
        ('"lora"]', '{technique = "lora", dropout = -inf}]', r"candidates.2.dropout is -inf"),
        ("[evaluate]", "[cost]\nmachine_per_hour = inf\n[evaluate]", r"\[cost\] machine_per_hour"),
        ("[evaluate]", f"[cost]\nexpected_requests = {10**400}\n[evaluate]", "more than 40 digits"),
        ("rank = 4", f"rank = 1{'0' * 5000}", "not valid TOML"),
        ('"lora"]', '"rag+"]', r"candidates: technique 'rag\+': a part is empty"),
        ('"lora"]', '"rag+rag"]', "rag is in it 2 times"),
        ('"lora"]', '{name = "größe", technique = "lora"}]', "begins with a letter or digit, then"),
    ],
)
def test_values_that_make_no_sense_are_named_by_key(
    shop: Path, before: str, after: str, named: str
) -> None:
    set_config(shop, before, after)
    with pytest.raises(ProjectError, match=named):
        project.read(shop)


def test_the_largest_seed_is_taken(shop: Path) -> None:
    set_config(shop, 'name = "corner shop"', f"seed = {2**31 - 1}")
    assert project.read(shop).project.seed == 2**31 - 1


def test_a_file_that_begins_with_a_byte_order_mark_is_read(shop: Path) -> None:
    path = shop / "sartor.toml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert project.read(shop).project.name == "corner shop"


def test_a_class_of_ones_own_is_a_candidate_by_its_place_alone(shop: Path) -> None:
    own = "sartor.techniques.lora:LoRA"
    set_config(shop, '"lora"]', f'"{own}", "rag + {own}"]')
    set_config(shop, "[techniques.lora]", f'[techniques."{own}"]')
    trials = Project.open(shop).trials()
    assert [trial.name for trial in trials] == ["zero-shot", "rag", "LoRA", "rag+LoRA"]
    assert trials[2].settings["rank"] == trials[3].settings["inner"]["rank"] == 4


def test_init_refuses_an_empty_part(shop: Path) -> None:
    with pytest.raises(SettingError, match="a part is empty"):
        create(shop / "new", examples=[shop / "examples.jsonl"], candidates=["rag+"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("json:JSONDecoder", "scorer 'json:JSONDecoder' has no `name`"),
        ("json:codecs", "scorer 'json:codecs' cannot be made with the settings []"),
        (":x", "scorer ':x' cannot be imported: Empty module name"),
        (".x:y", "scorer '.x:y' cannot be imported"),
    ],
)
def test_what_is_no_scorer_is_named(name: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        load_scorer(name)
    assert said in str(caught.value)


def test_retrieval_without_documents_is_refused_before_anything_is_spent(
    shop: Path, sartor: Sartor
) -> None:
    set_config(shop, 'documents = ["products.csv"]\n', "")
    told = refused(sartor, "check", str(shop))
    assert "rag: there are no passages to index" in told
    assert "[data] documents" in told
    new = create(shop / "new", examples=[shop / "examples.jsonl"])
    project.refuse_impossible(project.read(new.parent), documents=0)


def test_a_scorer_of_passages_needs_a_candidate_that_reads_some(shop: Path, sartor: Sartor) -> None:
    set_config(shop, '"rag", "lora"]', '"lora"]')
    set_config(shop, "[evaluate]", '[criteria]\nscorer = "groundedness"\n[evaluate]')
    told = refused(sartor, "check", str(shop))
    assert "[criteria] scorer is 'groundedness'" in told
    assert "Add 'rag'" in told
    set_config(shop, '"lora"]', '"rag+lora"]')
    project.refuse_impossible(project.read(shop), documents=1)


def test_hints_can_be_pasted_into_a_shell(shop: Path, tmp_path: Path, sartor: Sartor) -> None:
    folder = tmp_path / "my shop"
    done = sartor("init", str(folder), "--examples", str(shop / "examples.jsonl"))
    assert done.returncode == 0, done.stderr
    assert f"sartor check '{folder}', then sartor run '{folder}'" in done.stderr
    assert f"sartor run '{folder}'" in sartor("history", str(folder)).stderr
    assert f"sartor init '{tmp_path / 'no shop'}'" in refused(
        sartor, "run", str(tmp_path / "no shop")
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_output_that_cannot_be_written_is_not_called_a_disk_that_is_full(shop: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "sartor", "history", str(shop), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "error: standard output cannot be written: No space left on device" in done.stderr
    assert "run again" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
