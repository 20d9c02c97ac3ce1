"""`sartor estimate`: memory, time, tokens, energy and money, before anything is spent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sartor.cli import app
from sartor.costed import Machine
from sartor.costing import from_numbers, usual_memory
from sartor.errors import DataError, SettingError
from sartor.lengths import Lengths, lengths_of
from sartor.models.catalogue import catalogued

ASKED = ("estimate", "--base", "Qwen/Qwen3-8B", "--gpu", "80GB", "--json")
NUMBERS = ("--prompt-tokens", "900", "--answer-tokens", "80", "--examples-count", "2000")


def told(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*ASKED, *words])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def by_name(found: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in found["costed"]}


def test_a_machine_and_a_base_one_does_not_have_are_counted() -> None:
    found = told(*NUMBERS, "--price-per-hour", "2.5", "--watts", "400")
    each = by_name(found)
    assert list(each) == ["zero-shot", "p-tuning", "lora", "qlora", "full"]
    peaks = {name: one["peak_memory_bytes"] for name, one in each.items()}
    assert peaks["lora"] < peaks["full"]
    assert not each["full"]["fits"]
    assert 'with `sharding = "full"`' in each["full"]["why"]
    for one in each.values():
        assert one["how"] == "by arithmetic"
        seconds = one["seconds_to_customize"] + found["answers"] * one["seconds_per_answer"]
        assert one["energy_kwh"] == pytest.approx(400 * seconds / 3.6e6)
        assert one["money"] == pytest.approx(2.5 * seconds / 3600)


def test_more_gpus_are_faster_and_with_sharding_each_holds_less() -> None:
    one, four, divided = (
        by_name(told(*NUMBERS, "--gpus", *words))["full"]
        for words in (("1",), ("4",), ("4", "--sharded"))
    )
    assert 0.9 < four["peak_memory_bytes"] / one["peak_memory_bytes"] < 1  # a part of the batch
    assert divided["peak_memory_bytes"] < one["peak_memory_bytes"] / 2
    alone = one["seconds_an_epoch"]
    assert alone / 4 < four["seconds_an_epoch"] < alone  # gradients take their time to pass
    assert divided["seconds_per_answer"] == one["seconds_per_answer"]  # one GPU answers
    assert "It does not fit on 1; it fits on 4 GPUs" in one["why"]
    assert divided["fits"]


@pytest.mark.parametrize("use", ["zero-shot", "lora", "qlora", "full"])
def test_the_shortlist_counts_what_estimates_on_one_gpu_do(use: str) -> None:
    model = catalogued("Qwen/Qwen3-32B")
    assert model is not None
    words = ("--base", model.id, "--technique", use, "--prompt-tokens", "500", "--gpu", "80GB")
    [found] = json.loads(CliRunner().invoke(app, ["estimate", *words, "--json"]).stdout)["costed"]
    asked = "inference" if use == "zero-shot" else use
    assert round(usual_memory(model, asked, 80e9)) == found["peak_memory_bytes"]


def test_lengths_come_from_a_file_of_examples(tmp_path: Path) -> None:
    rows = [{"input": "word " * 400, "output": "yes"} for _ in range(12)]
    file = tmp_path / "examples.jsonl"
    file.write_text("".join(json.dumps({"id": str(i), **row}) + "\n" for i, row in enumerate(rows)))
    [one] = told("--technique", "lora", "--examples", str(file))["costed"]
    [same] = told("--technique", "lora", "--prompt-tokens", "520", "--answer-tokens", "2",
                  "--examples-count", "12")["costed"]  # fmt: skip
    assert one["training_tokens"] == pytest.approx(same["training_tokens"], rel=0.02)


def test_rows_with_rejected_answers_only_have_no_length(tmp_path: Path) -> None:
    rejected = {"input": "word " * 400, "rejected": "no"}
    rows = [{"input": "word " * 400, "output": "yes"}, *[rejected] * 3]
    file = tmp_path / "examples.jsonl"
    file.write_text("".join(json.dumps({"id": str(i), **row}) + "\n" for i, row in enumerate(rows)))
    assert lengths_of("thimble", file).examples == 1
    file.write_text(json.dumps({"id": "1", **rejected}) + "\n")
    with pytest.raises(DataError, match="no row has an answer that is right"):
        lengths_of("thimble", file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Give --prompt-tokens, or --examples FILE"),
        ((*NUMBERS, "--gpu", "H1000"), "did you mean"),
        (("--prompt-tokens", "0"), "are each 1 or more"),
        ((*NUMBERS, "--gpu", "X1"), "MI300X. Or give its memory: 80GB."),
        ((*NUMBERS, "--gpus", "0"), "give 1 GPU or more"),
        ((*NUMBERS, "--price-per-hour", "nan"), "price nan"),
        ((*NUMBERS, "--price-per-hour", "inf"), "price inf"),
        ((*NUMBERS, "--watts", "nan"), "watts nan"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, [*ASKED, *words])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize(
    "words", [("--technique", "lora"), ("--prompt-tokens", "9"), ("--sharded",)]
)
def test_what_goes_with_a_base_is_not_passed_over_in_a_project(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["estimate", str(tmp_path), *words])
    assert done.exit_code == 2
    assert f"{words[0]} goes with --base" in " ".join(done.output.split())


def test_several_of_an_unnamed_gpu_are_refused() -> None:
    with pytest.raises(SettingError, match="no GPU is named"):
        from_numbers("Qwen/Qwen3-8B", (), Lengths(1, 1, 1), Machine(gpus=2))
