"""What several processes divide: a batch, and the gradients that they sum."""

from __future__ import annotations

import pytest
import torch

from sartor.training import processes
from sartor.training.processes import dealt


def test_neighbours_stay_together_and_nobody_has_much_more() -> None:
    ranks = dealt([5, 1, 4, 2, 2, 6], 2)
    assert ranks == [0, 0, 0, 1, 1, 1]
    assert dealt([7], 3) == [1]
    assert dealt([1] * 6, 3) == [0, 0, 1, 1, 2, 2]


def test_gradients_go_in_rows_that_are_short_and_hold_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "ROW", 5)
    parameters = [torch.nn.Parameter(torch.zeros(n)) for n in (2, 3, 1, 9, 1, 1)]
    rows = [[p.numel() for p in row] for row in processes._rows(parameters)]
    assert rows == [[2, 3], [1], [9], [1, 1]]
