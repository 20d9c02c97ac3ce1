"""A step that breaks: its batch is written down and named, and training goes back and goes on."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.test_loop import ALIKE, Heard, Stopping, same, trainable, trained, values

from sartor import progress
from sartor.errors import TrainingError
from sartor.training.loop import MOST_HALVINGS, RECENT, Trainable
from sartor.training.packing import Encoded


@dataclass(frozen=True)
class Breaking(Trainable):
    """Its loss is changed by `change` where gradients are taken, given how often that was."""

    change: Callable[[torch.Tensor, int, set[str]], torch.Tensor] = lambda loss, *_: loss
    passes: list[int] = field(default_factory=lambda: [0])
    always: bool = False
    """Change it where no gradients are taken too."""

    def loss(self, pack: Any) -> tuple[torch.Tensor, float]:
        loss, counted = Trainable.loss(self, pack)
        if torch.is_grad_enabled():
            self.passes[0] += 1
        if torch.is_grad_enabled() or self.always:
            loss = self.change(loss, self.passes[0], {e.id for e in pack})
        return loss, counted


def breaking(change: Any, always: bool = False) -> Breaking:
    whole = trainable()
    given = (whole.network, whole.tokenizer, whole.parameters, whole.context)
    return Breaking(*given, change=change, always=always)


def no_number_in_pass(number: int) -> Any:
    return lambda loss, at, _: loss * (math.nan if at == number else 1)


class Counted(Heard):
    """The most steps that were shown as done, and how many there are."""

    most = total = done = 0.0

    def start(self, what: str, total: float, unit: str, done: float) -> progress.Task:
        self.total, self.done = total, done
        return self

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        self.most = max(self.most, self.done)


POISONED = "train3"


def poisoned(loss: torch.Tensor, _: int, ids: set[str]) -> torch.Tensor:
    return loss * (math.nan if POISONED in ids else 1)


def rows(folder: Path) -> list[dict[str, Any]]:
    [file] = folder.glob("bad-batch-*.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]


def test_the_batch_is_written_down_and_named_and_training_goes_on(tmp_path: Path) -> None:
    heard = Heard()
    with progress.shown_by(heard):
        found = trained(tmp_path, what=breaking(no_number_in_pass(6)))
    [said] = heard.said
    assert said.startswith("tiny: the loss became nan at step 5, on examples train")
    assert str(tmp_path / "bad-batch-train-step-5.jsonl") in said
    assert said.endswith("Back to step 4, at half the learning rate: 0.005")
    kept = rows(tmp_path)
    assert len(kept) == 4
    assert {row["step"] for row in kept} == {5}
    assert {row["batch_loss"] for row in kept} == {"nan"}
    assert all(0 < row["loss_before"] < 10 for row in kept)
    assert all(row["id"] in said for row in kept)
    texts = {e.id: e.input[0].content for e in ALIKE.train}
    assert all(texts[row["id"]] in row["text"] and "green" in row["text"] for row in kept)
    assert found.halvings == 1
    assert found.notes()[0] == "learning rate 0.01, halved 1 times"
    assert math.isfinite(found.validation_loss)
    assert [step for step, _, _ in found.curve] == [2, 4, 6, 8]


def test_it_goes_back_to_the_last_look_and_leaves_that_batch_out(tmp_path: Path) -> None:
    """The same by hand: to step 4 as ever, then every step but the sixth at half the rate."""
    batches = list[tuple[str, ...]]()

    @dataclass(frozen=True)
    class Noting(Breaking):
        def loss(self, pack: Any) -> tuple[torch.Tensor, float]:
            if torch.is_grad_enabled():
                batches.append(tuple(e.id for e in pack))
            return Breaking.loss(self, pack)

    whole = trainable()
    given = (whole.network, whole.tokenizer, whole.parameters, whole.context)
    trained(tmp_path, what=Noting(*given, change=no_number_in_pass(6)))
    first, broken, later = batches[:5], batches[5], batches[6:]
    assert len(later) == 3
    assert later[0] == first[4]  # step 4 again, after the look at 4
    assert broken not in later[1:]


@pytest.mark.parametrize("rates", [(1e-2,), (1e-3, 1e-2)])
def test_an_example_whose_loss_is_never_a_number_is_left_out_for_good(
    tmp_path: Path, rates: tuple[float, ...]
) -> None:
    heard, what = Heard(), breaking(poisoned, always=True)
    with progress.shown_by(heard):
        found = trained(tmp_path, what=what, learning_rates=rates, search_fraction=0.5)
    [said] = heard.said  # once, in all tries and epochs
    assert "on examples train3 (" in said
    assert "They are left out" in said
    assert found.halvings == 0
    assert math.isfinite(found.validation_loss)
    assert {row["id"]: row["loss_before"] for row in rows(tmp_path)}[POISONED] == "nan"


@pytest.mark.parametrize("rates", [(1e-2,), (1e-3, 1e-2)])
@pytest.mark.parametrize("gone", [{"held3"}, {"held3", "train3"}])
def test_validation_examples_whose_loss_is_never_a_number_are_named_and_not_watched(
    tmp_path: Path, gone: set[str], rates: tuple[float, ...]
) -> None:
    def change(loss: torch.Tensor, _: int, ids: set[str]) -> torch.Tensor:
        return loss * (math.nan if gone & ids else 1)

    told: dict[str, Any] = {"learning_rates": rates, "search_fraction": 0.5}
    heard, what = Heard(), breaking(change, always=True)
    with progress.shown_by(heard):
        found = trained(tmp_path / "whole", what=what, **told)
    assert len(heard.said) == len(gone)
    assert "that of held3 is no number at step 0 either. The loss is watched" in heard.said[-1]
    assert found.halvings == 0
    assert math.isfinite(found.validation_loss)
    with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(9)):
        trained(tmp_path / "stopped", what=breaking(change, always=True), **told)
    again = breaking(change, always=True)
    assert trained(tmp_path / "stopped", what=again, **told) == found
    assert same(values(again), values(what))


def test_after_some_halvings_it_gives_up_and_names_the_file(tmp_path: Path) -> None:
    heard = Heard()
    with progress.shown_by(heard), pytest.raises(TrainingError) as caught:
        trained(tmp_path, what=breaking(lambda loss, at, _: loss * (math.nan if at > 4 else 1)))
    assert len(heard.said) == MOST_HALVINGS
    assert f"learning rate 0.01, halved {MOST_HALVINGS} times" in str(caught.value)
    [named] = [path for path in tmp_path.glob("bad-batch-*") if str(path) in str(caught.value)]
    assert named.is_file()


def test_a_loss_that_leaps_is_caught_before_it_moves_anything(tmp_path: Path) -> None:
    heard = Heard()
    with progress.shown_by(heard):
        trained(tmp_path, what=breaking(lambda loss, at, _: loss * (1e4 if at == 6 else 1)))
    assert "at once, from" in heard.said[0]


def test_a_gradient_that_is_no_number_is_caught(tmp_path: Path) -> None:
    def endless(loss: torch.Tensor, at: int, _: set[str]) -> torch.Tensor:
        if at == 3:
            loss.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]
        return loss

    heard, what = Counted(), breaking(endless)
    with progress.shown_by(heard):
        found = trained(tmp_path, what=what)
    assert heard.most == heard.total
    assert "the norm of the gradient became" in heard.said[0]
    assert all(torch.isfinite(value).all() for value in values(what))
    assert found.halvings == 1


def test_a_loss_on_validation_that_is_no_number_goes_back_too(tmp_path: Path) -> None:
    what = breaking(lambda loss, *_: loss)
    whole, looks = Trainable.loss, list[int]()

    @dataclass(frozen=True)
    class Blind(Breaking):
        def loss(self, pack: list[Encoded]) -> tuple[torch.Tensor, float]:  # type: ignore[override]
            loss, counted = whole(self, pack)
            if not torch.is_grad_enabled():
                looks.append(1)
                loss = loss * (math.nan if len(looks) == 2 else 1)
            return loss, counted

    heard = Counted()
    with progress.shown_by(heard):
        found = trained(
            tmp_path, what=Blind(what.network, what.tokenizer, what.parameters, what.context)
        )
    assert heard.most == heard.total
    assert heard.said[0].startswith("tiny: the loss on validation became nan at step 4. Back to")
    assert found.halvings == 1
    assert len(found.curve) == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from sartor import progress
from tests.training.test_broken_steps import breaking, no_number_in_pass
from tests.training.test_loop import Stopping, trained

class Killing(Stopping):
    def advance(self, amount=1, note=""):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

with progress.shown_by(Killing(int(sys.argv[2]))):
    trained(Path(sys.argv[1]), what=breaking(no_number_in_pass(6)))
"""


def test_killed_after_a_broken_step_it_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    """Steps 0 to 4, then back to 4, at half the rate from there; killed at the seventh step."""
    whole = breaking(no_number_in_pass(6))
    expected = trained(tmp_path / "whole", what=whole)
    run = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), "8"]
    assert subprocess.run(run, cwd=Path(__file__).parents[2], timeout=120).returncode == -9
    again = breaking(lambda loss, *_: loss)
    assert trained(tmp_path / "killed", what=again) == expected
    assert expected.halvings == 1
    assert same(values(again), values(whole))


def test_a_state_between_looks_is_gone_on_from_and_ends_the_same(tmp_path: Path) -> None:
    often: dict[str, Any] = {"looks": 1, "save_minutes": 1e-9}
    whole = trainable()
    expected = trained(tmp_path / "whole", what=whole, **often)
    with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(6)):
        trained(tmp_path / "stopped", **often)
    assert (tmp_path / "stopped" / RECENT).is_file()

    class Counting(progress.Silent):
        done = 0.0

        def start(self, what: str, total: float, unit: str, done: float) -> progress.Task:
            self.done = done
            return progress.SilentTask()

    again, counting = trainable(), Counting()
    with progress.shown_by(counting):
        assert trained(tmp_path / "stopped", what=again, **often) == expected
    assert counting.done == 5
    assert same(values(again), values(whole))
