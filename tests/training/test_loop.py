"""The training loop: what it chooses, when it stops, what it refuses, and how it goes on."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny_models

from sartor import progress
from sartor.data.records import Example, Message, TrainingData
from sartor.errors import DataError, SettingError, TrainingError
from sartor.techniques.lora import LoRA
from sartor.training.clock import Clock
from sartor.training.loop import (
    STATE,
    Trainable,
    Trained,
    TrainingSettings,
    forget,
    train,
)
from sartor.training.packing import answer_loss, encode
from sartor.training.state import latest

THINGS = ("lamp", "desk", "chair", "shelf", "stool", "bench", "clock", "bowl")


def examples(prefix: str, answer: str) -> tuple[Example, ...]:
    return tuple(
        Example(f"{prefix}{i}", (Message("user", f"What color is the {thing}?"),), (answer,))
        for i, thing in enumerate(THINGS)
    )


ALIKE = TrainingData((), examples("train", "green"), examples("held", "green"))
CONTRARY = TrainingData((), examples("train", "green"), examples("held", "don't know"))
"""The better the answers are learned, the worse the loss on validation."""


def trainable(network: Any | None = None) -> Trainable:
    """A network of which the last layer's feed-forward weights are trained."""
    network = network or tiny_models.network()
    network.requires_grad_(False)
    named = {n: p for n, p in network.named_parameters() if "layers.1.mlp" in n}
    for parameter in named.values():
        parameter.requires_grad_(True)
    return Trainable(network, tiny_models.tokenizer(), named, tiny_models.CONTEXT)


def trained(
    folder: Path, data: TrainingData = ALIKE, what: Trainable | None = None, **settings: Any
) -> Trained:
    chosen = {"batch_size": 4, "epochs": 4, "looks": 4, "learning_rates": (1e-2,), **settings}
    return train(what or trainable(), data, TrainingSettings(**chosen), folder, "tiny")


class Heard(progress.Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


class Stopping(progress.Silent):
    """Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def start(self, what: str, total: float, unit: str, done: float) -> progress.Task:
        return self

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def held_loss(what: Trainable, data: TrainingData) -> float:
    with torch.no_grad():
        what.network.eval()
        encoded = encode(what.tokenizer, data.validation, what.context)
        loss, scored = answer_loss(what.network, encoded)
    return loss.item() / scored


def test_the_loss_on_validation_falls(tmp_path: Path) -> None:
    what = trainable()
    before = held_loss(what, ALIKE)
    found = trained(tmp_path, what=what)
    assert found.validation_loss < before / 2
    assert found.steps == 8
    assert [step for step, _, _ in found.curve] == [2, 4, 6, 8]


@pytest.mark.parametrize("rates", [(1e-6, 1e-2), (1e-2, 1e-6)])
def test_the_better_learning_rate_is_chosen(tmp_path: Path, rates: tuple[float, ...]) -> None:
    found = trained(tmp_path, learning_rates=rates, search_fraction=0.5)
    assert found.learning_rate == 1e-2
    assert found.notes()[0] == "learning rate 0.01"


def test_a_chosen_rate_trains_as_if_it_had_been_the_only_one(tmp_path: Path) -> None:
    searched = trained(tmp_path / "searched", learning_rates=(1e-6, 1e-2))
    assert searched == trained(tmp_path / "alone", learning_rates=(1e-2,))


def test_training_stops_when_validation_gets_worse_and_keeps_the_best(tmp_path: Path) -> None:
    what = trainable()
    found = trained(tmp_path, CONTRARY, what, epochs=20, looks=20, patience=2)
    losses = [held for _, _, held in found.curve]
    assert len(losses) < 20
    assert found.validation_loss == min(losses) < losses[-1]
    assert found.steps == found.curve[losses.index(min(losses))][0]
    assert held_loss(what, CONTRARY) == pytest.approx(found.validation_loss, rel=1e-5)


def broken() -> Any:
    network = tiny_models.network()
    with torch.no_grad():
        network.model.layers[0].mlp.down_proj.weight[0, 0] = math.nan
    return network


@pytest.mark.parametrize("rates", [(0.25,), (0.25, 0.5)])
def test_a_base_whose_loss_is_no_number_is_told_as_that_with_the_examples(
    tmp_path: Path, rates: tuple[float, ...]
) -> None:
    with pytest.raises(TrainingError, match=r"tiny: the loss became nan at step 0") as caught:
        trained(tmp_path, what=trainable(broken()), learning_rates=rates)
    assert "on examples train" in str(caught.value)
    assert "it is the base that gives none. Fetch or convert its weights again" in str(caught.value)


def test_a_rate_that_diverges_loses_and_that_is_said(tmp_path: Path) -> None:
    heard = Heard()
    with progress.shown_by(heard):
        found = trained(tmp_path, learning_rates=(1e-2, 1e30), search_fraction=1)
    assert found.learning_rate == 1e-2
    assert len(heard.said) == 1
    assert "learning rate 1e+30" in heard.said[0]


def test_a_loss_on_validation_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss on validation is inf after 1 steps"):
        trained(tmp_path, learning_rates=(1e30,), batch_size=8, epochs=1)


def test_at_most_so_many_tokens_are_trained_on(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    half = trained(tmp_path / "half", max_tokens=whole.tokens // 2)
    assert half.tokens <= whole.tokens // 2 * 1.2
    assert half.steps == whole.steps // 2


def values(what: Trainable) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in what.parameters.values()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("steps", range(1, 13))
def test_stopped_at_any_step_it_goes_on_and_ends_the_same(tmp_path: Path, steps: int) -> None:
    settings: dict[str, Any] = {"learning_rates": (1e-3, 1e-2), "search_fraction": 0.25}
    whole = trainable()
    expected = trained(tmp_path / "whole", what=whole, **settings)
    with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(steps)):
        trained(tmp_path / "stopped", **settings)
    again = trainable()
    assert trained(tmp_path / "stopped", what=again, **settings) == expected
    assert same(values(again), values(whole))


def test_the_state_of_another_training_is_not_gone_on_from(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(5)):
        trained(tmp_path / "used", CONTRARY)
    assert (tmp_path / "used" / STATE).is_file()
    used, fresh = trainable(), trainable()
    assert trained(tmp_path / "used", what=used) == trained(tmp_path / "fresh", what=fresh)
    assert same(values(used), values(fresh))


def test_the_state_stays_until_it_is_dropped(tmp_path: Path) -> None:
    first = trained(tmp_path)
    with progress.shown_by(Stopping(1)):  # nothing is done again
        assert trained(tmp_path) == first
    forget(tmp_path)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from sartor import progress
from sartor.models import base_card
from tests.training.test_loop import ALIKE, KILLABLE, Stopping

class Killing(Stopping):
    def advance(self, amount=1, note=""):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

with progress.shown_by(Killing(7)):
    KILLABLE.fit(base_card.describe(sys.argv[1]), ALIKE, Path(sys.argv[2]))
"""
KILLABLE = LoRA(rank=2, learning_rates=(1e-3,), epochs=6, batch_size=4, looks=6)


def test_a_process_that_is_killed_loses_nothing_that_matters(tmp_path: Path) -> None:
    base = tiny_models.save(tmp_path / "base")
    whole = KILLABLE.fit(base, ALIKE, tmp_path / "whole")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, base.path, str(tmp_path / "killed")],
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    assert killed.returncode == -9
    assert (tmp_path / "killed" / STATE).is_file()
    assert KILLABLE.fit(base, ALIKE, tmp_path / "killed").digest == whole.digest


@contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """No file may become larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_and_the_last_state_stays(tmp_path: Path) -> None:
    whole = trainable()
    expected = trained(tmp_path / "whole", what=whole)
    folder = tmp_path / "full"
    with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(4)):
        trained(folder)
    before = (folder / STATE).read_bytes()
    with full_disk(len(before) // 2), pytest.raises(DataError) as caught:
        trained(folder)
    assert str(caught.value).startswith(f"cannot write {folder / STATE}: File too large. Free some")
    assert [path.name for path in folder.iterdir()] == [STATE]
    assert (folder / STATE).read_bytes() == before
    again = trainable()
    assert trained(folder, what=again) == expected
    assert same(values(again), values(whole))


def test_a_state_that_a_power_cut_broke_is_passed_over_and_said(tmp_path: Path) -> None:
    whole = trainable()
    expected = trained(tmp_path / "whole", what=whole)
    folder, heard = tmp_path / "cut", Heard()
    with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(4)):
        trained(folder)
    kept = (folder / STATE).read_bytes()
    for broken in (kept[: len(kept) // 2], kept[:3], b""):
        (folder / STATE).write_bytes(broken)
        with progress.shown_by(heard):
            assert latest(folder)
    assert all(said.startswith(f"{folder / STATE} is broken") for said in heard.said)
    assert len(heard.said) == 3
    again = trainable()
    with progress.shown_by(heard):
        assert trained(folder, what=again) == expected
    assert same(values(again), values(whole))


def test_what_was_trained_and_cannot_be_written_is_not_lost(tmp_path: Path) -> None:
    base, folder = tiny_models.save(tmp_path / "base"), tmp_path / "made"
    in_the_way = folder / "adapter_model.safetensors"
    in_the_way.mkdir(parents=True)
    with pytest.raises(DataError, match=r"cannot write .*made: .*directory.*\. Free some space"):
        KILLABLE.fit(base, ALIKE, folder)
    in_the_way.rmdir()
    with progress.shown_by(Stopping(1)):  # nothing is trained again
        made = KILLABLE.fit(base, ALIKE, folder)
    assert made.digest == KILLABLE.fit(base, ALIKE, tmp_path / "whole").digest


def test_seconds_are_counted_over_all_sittings(tmp_path: Path) -> None:
    with Clock(tmp_path) as first:
        pass
    assert first.total > 0
    (tmp_path / "seconds").write_text("100.0")
    with Clock(tmp_path) as second:
        pass
    assert 100 < second.total < 110
    assert float((tmp_path / "seconds").read_text()) > 100


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rates": ()}, r"learning_rates is \[\]; give one or more positive numbers"),
        ({"learning_rates": (1e-3, -1.0)}, r"learning_rates is \[0.001, -1.0\]"),
        ({"learning_rates": (math.nan,)}, r"learning_rates is \[nan\]"),
        ({"epochs": 0}, "training: epochs is 0.0; it must be above 0"),
        ({"batch_size": 0}, "batch_size is 0; it must be above 0"),
        ({"pack_tokens": -1}, "pack_tokens is -1"),
        ({"patience": 0}, "patience is 0"),
        ({"search_fraction": 1.5}, r"search_fraction is 1.5; it lies in \(0, 1\]"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        TrainingSettings(**settings)
