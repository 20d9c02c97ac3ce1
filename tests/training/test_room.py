"""Memory that runs out: fewer tokens go through at once, and the result is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import ALIKE, Heard, trainable, trained, values

from sartor import progress
from sartor.errors import ProcessError, TrainingError
from sartor.models.memory import ran_out
from sartor.training.loop import Trainable
from sartor.training.packing import encode
from sartor.training.processes import ALONE
from sartor.training.room import Room

OUT: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    lambda: RuntimeError("could not create a primitive"),  # oneDNN
    lambda: MemoryError(),
]


@dataclass(frozen=True)
class Cramped(Trainable):
    """Memory runs out where more than `fits` tokens go through at once, after part of the work."""

    fits: int = 0
    out: Callable[[], Exception] = OUT[0]
    held: bool = False
    """In looks at validation, not in steps."""
    sizes: list[int] = field(default_factory=list)

    def loss(self, pack: Any) -> tuple[torch.Tensor, float]:
        size = sum(len(e.tokens) for e in pack)
        if self.held != torch.is_grad_enabled():
            if size > self.fits:
                raise self.out()
            self.sizes.append(size)
        return Trainable.loss(self, pack)


def cramped(**given: Any) -> Cramped:
    whole = trainable()
    return Cramped(whole.network, whole.tokenizer, whole.parameters, whole.context, **given)


@pytest.mark.parametrize("out", OUT)
def test_the_pack_is_halved_that_is_said_and_the_result_is_the_same(
    tmp_path: Path, out: Callable[[], Exception]
) -> None:
    plain = trainable()
    expected = trained(tmp_path / "plain", what=plain)
    what, heard = cramped(fits=60, out=out), Heard()
    with progress.shown_by(heard):
        found = trained(tmp_path / "cramped", what=what)
    assert max(what.sizes) <= 60
    assert "tiny: out of memory with 69 tokens at once: pack_tokens is 34 from" in heard.said[0]
    assert len(heard.said) == 1  # it is not tried with more again
    assert found.validation_loss == pytest.approx(expected.validation_loss, rel=1e-3)
    for one, other in zip(values(what), values(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_gradients_of_packs_before_the_one_that_failed_do_not_count_twice(tmp_path: Path) -> None:
    """Two packs of a step, the second of which fails once: the step is made anew."""
    plain, failed = trainable(), list[int]()
    trained(tmp_path / "plain", what=plain, pack_tokens=50)

    @dataclass(frozen=True)
    class Once(Cramped):
        def loss(self, pack: Any) -> tuple[torch.Tensor, float]:
            if torch.is_grad_enabled():
                failed.append(1)
                if len(failed) == 2:
                    raise MemoryError
            return Trainable.loss(self, pack)

    whole = trainable()
    what = Once(whole.network, whole.tokenizer, whole.parameters, whole.context)
    trained(tmp_path / "once", what=what, pack_tokens=50)
    for one, other in zip(values(what), values(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_look_at_validation_is_halved_as_well(tmp_path: Path) -> None:
    expected = trained(tmp_path / "plain")
    what, heard = cramped(fits=100, held=True), Heard()
    with progress.shown_by(heard):
        found = trained(tmp_path / "cramped", what=what)
    assert "pack_tokens is" in heard.said[0]
    assert found.validation_loss == pytest.approx(expected.validation_loss, rel=1e-3)


def test_one_example_that_does_not_fit_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"example train\d, of \d+ tokens, does not fit by its"):
        trained(tmp_path, what=cramped(fits=3))


def test_other_failures_are_not_taken_for_want_of_memory() -> None:
    def broken(_: object, lane: int | None) -> float:
        raise RuntimeError("shapes cannot be multiplied")

    assert not ran_out(RuntimeError("shapes cannot be multiplied"))
    assert not ran_out(RuntimeError("could not create a primitive descriptor for a matmul"))
    with pytest.raises(RuntimeError, match="shapes"):
        Room(10, "tiny", ALONE).put(trained_on(), broken, lambda: None)


def trained_on() -> Any:
    from sartor.training.packing import Encoded

    return [Encoded("a", (1, 2, 3), 1)]


def test_processes_that_share_weights_cannot_go_on_without_memory() -> None:
    def out(_: Any, lane: int | None) -> float:
        raise MemoryError

    room = Room(1000, "full", ALONE, in_step=True)
    items = encode(tiny_models.tokenizer(), ALIKE.train, tiny_models.CONTEXT)
    with pytest.raises(ProcessError, match=r"full: out of memory with \d+ tokens at once") as told:
        room.put(items, out, lambda: None)
    assert "set pack_tokens below 1,000" in str(told.value)
