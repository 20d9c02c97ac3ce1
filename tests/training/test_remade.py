"""Values made again on the way back: once for all their readers, and dropped after the last."""

from __future__ import annotations

import torch

from sartor.training.remade import Remade, note, noted


def test_a_value_is_made_once_for_its_readers_and_then_dropped() -> None:
    times = []

    def make(x: torch.Tensor) -> torch.Tensor:
        times.append(1)
        return x * 2

    remade = Remade(make, torch.ones(3))
    remade.read_by_one_more().read_by_one_more()
    first = remade.value()
    assert remade.value() is first
    assert len(times) == 1
    assert remade._value is None


def test_made_ahead_it_waits_for_its_reader() -> None:
    remade = Remade(torch.neg, torch.ones(2)).read_by_one_more()
    ahead = remade.ahead()
    assert remade.value() is ahead
    assert remade._value is None


def test_a_value_without_a_note_is_kept() -> None:
    value = torch.ones(2)
    assert noted(value) is None
    note(value, torch.neg, torch.ones(2))
    found = noted(value)
    assert found is not None
    assert torch.equal(found.value(), -torch.ones(2))
