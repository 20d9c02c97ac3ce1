"""`sartor run`, whole, on a small shop with thimble."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import safetensors.torch
from safetensors import SafetensorError
from tests.journey.small_shop import Heard, Sartor, set_config

from sartor.data.records import Document, TrainingData
from sartor.errors import BusyError, DiskError, ModelError, ProjectError, SettingError
from sartor.journey import Project
from sartor.progress import shown_by
from sartor.techniques.lora import LoRA
from sartor.trial import Training

KEYS = {
    "name", "technique", "base", "estimate", "cost_per_answer", "seconds_per_answer",
    "trainable_parameters", "training_seconds", "peak_memory_bytes", "verdict",
}  # fmt: skip


def made(folder: Path) -> dict[str, int]:
    """Every file a run left, by when it was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted((folder / ".sartor").rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def test_a_run_prints_the_decision_and_nothing_else_and_leaves_all_its_files(
    shop: Path, sartor: Sartor
) -> None:
    done = sartor("run", str(shop), "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((shop / ".sartor" / "decision.json").read_text())
    assert {"winner", "reason", "scorer", "margin", "n", "candidates"} <= printed.keys()
    assert [row["name"] for row in printed["candidates"]] == ["zero-shot", "rag", "lora"]
    for row in printed["candidates"]:
        assert row.keys() >= KEYS
        assert row["estimate"]["low"] <= row["estimate"]["mean"] <= row["estimate"]["high"]
        assert row["seconds_per_answer"] > 0
        assert row["peak_memory_bytes"] > 50_000_000
    trained = printed["candidates"][2]
    assert trained["trainable_parameters"] > 0
    assert trained["training_seconds"] > 0
    report = json.loads((shop / ".sartor" / "reports" / "rag.json").read_text())
    assert len(report["predictions"]) == printed["n"]
    assert all(row["passages"] for row in report["predictions"])
    page = (shop / "report.html").read_text()
    assert "corner shop" in page
    assert "Traceback" not in done.stderr


def test_a_second_run_does_nothing_and_says_so(shop: Path, sartor: Sartor) -> None:
    Project.open(shop).run()
    before = made(shop)
    again = sartor("run", str(shop))
    assert again.returncode == 0
    assert "nothing has changed" in again.stderr
    assert made(shop) == before


def test_a_changed_candidate_runs_anew_and_the_others_do_not(shop: Path) -> None:
    project = Project.open(shop)
    project.run()
    before = made(shop)
    set_config(shop, "rank = 4", "rank = 8")
    changed = Project.open(shop)
    changed.run()
    after = made(shop)
    kept = [name for name in before if "customizations/rag" in name or "answers/zero-shot" in name]
    assert kept
    assert all(before[name] == after[name] for name in kept)
    assert any("customizations/lora" in name for name in after.keys() - before.keys())
    first, second = changed.history()
    by_name = {entry.candidate: entry for entry in second.entries}
    assert by_name["lora"].changed == ("rank: 4 -> 8",)
    assert by_name["lora"].effect is not None
    assert by_name["lora"].effect.n == len(
        (shop / ".sartor" / "data" / "validation.jsonl").read_text().splitlines()
    )
    assert by_name["rag"].changed == ()
    assert (first.looks, second.looks) == (1, 2)


def test_files_that_were_only_touched_are_not_learned_anew(shop: Path) -> None:
    """As a checkout elsewhere does, where the test part changes too."""
    set_config(shop, '"zero-shot", "rag", "lora"', '"rag"')
    set_config(shop, "[techniques.lora]\nlearning_rates = [0.002]\nepochs = 1.0\nrank = 4\n", "")
    Project.open(shop).run()
    os.utime(shop / "products.csv", (1.6e9, 1.6e9))
    set_config(shop, "test_fraction = 0.4", "test_fraction = 0.4\nmax_test = 20")
    assert Project.open(shop).run().n == 20
    assert len(list(shop.glob(".sartor/customizations/rag-*"))) == 1


def test_what_techniques_learn_from_does_not_tell_when_it_was_collected() -> None:
    """Or stages that were finished before a stop would be made anew."""

    def learned_from(collected_at: str) -> Training:
        document = Document("d", "Lamps.", "d.txt", "Lamps", collected_at=collected_at)
        return Training.of(TrainingData((document,), (), ()))

    assert learned_from("2026-11-01") == learned_from("2026-11-30")


def test_changed_data_is_read_anew(shop: Path) -> None:
    Project.open(shop).run()
    with (shop / "examples.jsonl").open("a") as file:
        file.write('{"id": "new", "input": "Do you sell bread?", "output": "I don\'t know."}\n')
    project = Project.open(shop)
    project.run()
    assert all(entry.changed == ("data",) for entry in project.history()[1].entries)


def test_looking_too_often_at_a_test_part_names_no_winner(shop: Path) -> None:
    set_config(shop, 'candidates = ["zero-shot", "rag", "lora"]', 'candidates = ["zero-shot"]')
    set_config(shop, "[techniques.lora]", "[techniques.zero-shot]")
    text = (shop / "sartor.toml").read_text()
    for line in ("learning_rates = [0.002]\n", "epochs = 1.0\n", "rank = 4\n"):
        text = text.replace(line, "")
    for margin in (0.01, 0.02, 0.03):
        (shop / "sartor.toml").write_text(f"{text}\n[criteria]\nmax_looks = 2\nmargin = {margin}\n")
        decision = Project.open(shop).run()
    assert decision.winner is None
    assert "looked at 3 times" in decision.reason


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (ModelError("the loss became nan at step 3"), "the loss became nan"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),
    ],
)
def test_a_candidate_that_fails_leaves_no_winner_and_is_tried_again(
    failure: Exception, told: str, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr(LoRA, "fit", fail)
        decision = Project.open(shop).run()
    assert decision.winner is None
    assert f"lora failed: {told}" in decision.reason
    assert Project.open(shop).run().winner is not None


def test_a_full_disk_ends_the_run_and_is_not_the_candidates_failure(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as broken:
        broken.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(DiskError, match=r"cannot write .*: No space left on device"):
            Project.open(shop).run()
    assert not (shop / ".sartor" / "decision.json").exists()


def test_two_runs_at_once_are_refused(shop: Path) -> None:
    project = Project.open(shop)
    with project.workspace.locked(), pytest.raises(BusyError, match="another process"):
        Project.open(shop).run()


def test_settings_under_a_name_that_is_no_technique_are_refused(shop: Path) -> None:
    set_config(shop, "[techniques.lora]", "[techniques.loar]")
    with pytest.raises(ProjectError, match=r"techniques\.loar.*did you mean 'lora'"):
        Project.open(shop).run()


def test_a_technique_that_seeds_do_not_change_is_refused_with_seeds_before_anything_runs(
    shop: Path,
) -> None:
    set_config(shop, '"zero-shot", ', '{ technique = "zero-shot", seeds = [0, 1] }, ')
    with pytest.raises(SettingError, match="zero-shot takes no seed"):
        Project.open(shop).trials()


def test_a_candidate_can_be_taken_off_the_list_while_its_settings_stay(shop: Path) -> None:
    set_config(shop, '"rag", "lora"]', '"rag"]')
    heard = Heard()
    with shown_by(heard):
        assert len(Project.open(shop).trials()) == 2
    assert [line for line in heard.lines if "[techniques.lora] is not used" in line]


def test_settings_of_what_a_technique_trains_inside_are_used_where_it_is_not_named(
    shop: Path,
) -> None:
    set_config(shop, '"rag", "lora"]', '"dpo"]')
    [_, dpo] = Project.open(shop).trials()
    assert dpo.settings["inner"]["rank"] == 4


def test_a_moved_project_answers_as_before(shop: Path) -> None:
    project = Project.open(shop)
    project.run()
    question = "How much does the Oak Table cost?"
    before = {name: project.ask(question, name).text for name in ("rag", "lora")}
    moved = shop.rename(shop.with_name("moved"))
    after = {name: Project.open(moved).ask(question, name).text for name in ("rag", "lora")}
    assert after == before


def test_the_winner_answers_from_the_terminal_with_what_it_read(shop: Path, sartor: Sartor) -> None:
    Project.open(shop).run()
    question = "How much does the Wool Lamp cost?"
    done = sartor("ask", question, str(shop), "--candidate", "rag", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert any("Wool Lamp" in passage["text"] for passage in answer["passages"])
    unknown = sartor("ask", question, str(shop), "--candidate", "gpt")
    assert unknown.returncode == 2
    assert "rag" in unknown.stderr


def test_history_and_report_speak_json(shop: Path, sartor: Sartor) -> None:
    Project.open(shop).run()
    history = json.loads(sartor("history", str(shop), "--json").stdout)
    assert [run["number"] for run in history["runs"]] == [1]
    (shop / "report.html").unlink()
    report = json.loads(sartor("report", str(shop), "--json").stdout)
    assert Path(report["report"]).is_file()
    assert report["decision"]["scorer"] == "token_f1"


def test_a_project_that_cannot_be_written_has_its_report_elsewhere(
    shop: Path, sartor: Sartor, tmp_path: Path
) -> None:
    set_config(shop, '"rag", "lora"]', "]")
    Project.open(shop).run()
    (shop / "report.html").unlink()
    (shop / "report.html").mkdir()  # so that no file can take its place
    for form in ("html", "md", "csv", "model-card"):
        there = tmp_path / form
        done = sartor("report", str(shop), "--format", form, "--out", str(there))
        assert done.returncode == 0, done.stderr
        assert there.stat().st_size > 500
        assert f"{form}: {there}" in done.stderr
    refused = sartor("report", str(shop))
    assert refused.returncode == 2
    assert "cannot write" in refused.stderr
    assert "--out FILE" in refused.stderr
