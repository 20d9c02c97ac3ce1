"""What was broken or lost in .sartor is made again: no message leads nowhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.journey.small_shop import set_config, write

from sartor.errors import DataError
from sartor.evaluation.records import Estimate
from sartor.journey import Project


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was run."""
    folder = write(tmp_path_factory.mktemp("mended") / "shop")
    set_config(folder, '["zero-shot", "rag", "lora"]', '["zero-shot", "rag", "rag+lora"]')
    Project.open(folder).run()
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00{")


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


PARTS = (
    "decision.json", "history.jsonl", "looks.jsonl", "reports/rag.json", "candidates/rag.json",
    "data/prepared.json", "data/test.jsonl", "data/documents.jsonl", "releases/current",
    "releases/1/release.json", "validation/rag-*.json", "answers/rag-*/test.jsonl",
    "customizations/rag-*/customization.json", "customizations/rag-*/inner/customization.json",
    "customizations/rag+lora-*/inner/adapter_model.safetensors",
)  # fmt: skip
FOLDERS = ("reports", "data", "candidates", "releases", "customizations", "answers")


def found(folder: Path, pattern: str) -> Path:
    return next(iter(sorted((folder / ".sartor").glob(pattern))))


def run_as_told(folder: Path) -> Project:
    """Run; where that names a file to delete, delete it and run again, as a user would."""
    project = Project.open(folder)
    for _ in range(2):
        try:
            project.run()
        except DataError as error:
            remove(named(str(error)))
        else:
            break
    project.run()
    return project


def named(message: str) -> Path:
    """The file that a message says to delete."""
    file = re.match(r"(/[^\s:]+)", message)
    assert file, message
    assert "delete" in message.lower()
    return Path(file[1])


def scores(project: Project) -> dict[str, Estimate]:
    return {report.candidate: report.estimates["token_f1"] for report in project.outcome().reports}


@pytest.mark.parametrize("damage", [cut, garble, remove])
@pytest.mark.parametrize("part", PARTS)
def test_a_broken_file_is_made_again(
    part: str, damage: Callable[[Path], None], done: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(done, tmp_path / "shop")
    damage(found(folder, part))
    project = run_as_told(folder)
    assert scores(project) == scores(Project.open(done))
    for candidate in ("rag", "rag+lora"):
        assert project.ask("How much does the Oak Table cost?", candidate).prompt_tokens > 0
    assert project.release().version > 0


@pytest.mark.parametrize("part", FOLDERS)
def test_a_lost_folder_is_made_again(part: str, done: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(done, tmp_path / "shop")
    remove(folder / ".sartor" / part)
    project = run_as_told(folder)
    assert project.ask("How much does the Oak Table cost?").prompt_tokens > 0


def test_what_is_whole_is_not_made_again(done: Path) -> None:
    adapter = found(done, "customizations/rag+lora-*/inner/adapter_model.safetensors")
    before = adapter.stat().st_mtime_ns
    found(done, "reports/rag.json").unlink()
    Project.open(done).run()
    assert adapter.stat().st_mtime_ns == before
