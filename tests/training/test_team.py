"""What several processes divide: a batch, and the gradients that they sum."""

from __future__ import annotations

import pytest
import torch
from tests.launched import free_port, started

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
    monkeypatch.setitem(processes.ROW, "cpu", 5)
    parameters = [torch.nn.Parameter(torch.zeros(n)) for n in (2, 3, 1, 9, 1, 1)]
    rows = [[p.numel() for p in row] for row in processes._rows(parameters)]
    assert rows == [[2, 3], [1], [9], [1, 1]]


MEMBER = """
import torch
from sartor.training import processes
processes.ROW["cpu"] = 5
team = processes.join()
torch.manual_seed(team.rank)
layers = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (3,), (1,), (3, 3), (2,))]
layers[0].grad = torch.randn(3, 2).t()  # lies otherwise than its parameter
for layer in layers[1:4]:
    layer.grad = torch.randn_like(layer)  # the last took part in nothing
alone = [None if layer.grad is None else layer.grad.clone() for layer in layers]
team.sum_gradients(layers)
for layer, own in zip(layers, alone):
    everyone = team.gather(*(torch.zeros_like(layer) if own is None else own).flatten().tolist())
    want = torch.tensor(everyone).sum(0).view_as(layer).float()
    assert torch.allclose(layer.grad, want, atol=1e-6), (layer.grad, want)
processes.leave()
print("summed")
"""


def test_every_process_has_the_sum_of_gradients_of_several_rows() -> None:
    port = free_port()
    members = [started(rank, port, "-c", MEMBER) for rank in range(2)]
    for member in members:
        out, wrong = member.communicate(timeout=300)
        assert out.strip() == "summed", wrong
