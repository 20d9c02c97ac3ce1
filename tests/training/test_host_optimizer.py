"""The optimizer's state in the machine's memory: the same steps as torch's own."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tests.training.test_loop import Stopping, same, trainable, trained, values

from sartor.progress import shown_by
from sartor.training.host_optimizer import HostAdamW


def test_steps_and_moments_are_those_of_torch() -> None:
    torch.manual_seed(0)
    one = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 3))
    other = copy.deepcopy(one)
    told = {"lr": 0.01, "betas": (0.9, 0.98), "weight_decay": 0.1}
    usual = torch.optim.AdamW(one.parameters(), **told, foreach=False)  # type: ignore[arg-type]
    hosted = HostAdamW(other.parameters(), **told)  # type: ignore[arg-type]
    for _ in range(5):
        given = torch.randn(4, 7)
        for network, optimizer in ((one, usual), (other, hosted)):
            optimizer.zero_grad()
            network(given).square().sum().backward()
            optimizer.step()
    for mine, theirs in zip(other.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
        for key in ("step", "exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(hosted.state[mine][key], usual.state[theirs][key])


def test_training_with_it_gives_the_same_values_also_after_a_stop(tmp_path: Path) -> None:
    usual, hosted, again = trainable(), trainable(), trainable()
    trained(tmp_path / "usual", what=usual)
    trained(tmp_path / "hosted", what=hosted, optimizer_on_host="on")
    assert same(values(usual), values(hosted))
    with pytest.raises(KeyboardInterrupt), shown_by(Stopping(5)):
        trained(tmp_path / "stopped", optimizer_on_host="on")
    trained(tmp_path / "stopped", what=again, optimizer_on_host="on")
    assert same(values(again), values(usual))
