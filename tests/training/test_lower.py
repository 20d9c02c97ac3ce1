"""Frozen lower blocks whose outputs are kept: the same losses and gradients, without running."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import full_disk
from tests.training.test_packing import distance, examples, kin

from sartor.errors import DiskError
from sartor.training import lower
from sartor.training.blocks import blocks
from sartor.training.lower import use_lower_cache
from sartor.training.packing import Encoded, answer_loss
from sartor.training.settings import TrainingSettings
from sartor.training.tricks import keep_lower, use_tricks


def upper_only(architecture: str) -> tuple[Any, list[torch.nn.Parameter]]:
    network = tiny_models.network(architecture)
    network.requires_grad_(False)
    trained = list(blocks(network)[-1][1].parameters())
    for parameter in trained:
        parameter.requires_grad_(True)
    use_tricks(network, TrainingSettings())
    return network, trained


def taught(network: Any, trained: list[torch.nn.Parameter], pack: Any) -> tuple[float, Any]:
    loss, _ = answer_loss(network, pack)
    made = torch.autograd.grad(loss, trained)
    return loss.item(), torch.cat([gradient.flatten() for gradient in made])


@pytest.mark.parametrize("in_memory", [lower.IN_MEMORY, 30_000])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gemma2", "gemma3", "gpt2"])
def test_losses_and_gradients_are_those_of_all_blocks(
    architecture: str, in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lower, "IN_MEMORY", in_memory)
    network, trained = upper_only(architecture)
    packs = [kin(), kin(seed=9), examples()]
    expected = [taught(network, trained, pack) for pack in packs]
    kept = use_lower_cache(network, trained, tmp_path)
    assert kept is not None
    ran: list[int] = []
    first = blocks(network)[0][1]
    norm = next(m for m in first.modules() if list(m.parameters(recurse=False)))
    norm.register_forward_pre_hook(lambda *_: ran.append(1))
    for _ in range(2):
        for pack, (loss, gradient) in zip(packs, expected, strict=True):
            own, own_gradient = taught(network, trained, pack)
            assert own == pytest.approx(loss, rel=1e-5)
            assert distance(own_gradient, gradient) < 1e-5
    assert len(ran) <= len(packs)  # in the first epoch alone
    mixed = [packs[0][2], packs[1][3], packs[2][0]]
    before = len(ran)
    other, _ = upper_only(architecture)
    assert taught(network, trained, mixed)[0] == pytest.approx(
        answer_loss(other, mixed)[0].item(), rel=1e-5
    )
    assert len(ran) == before
    assert kept.path.is_file() is (in_memory == 30_000)
    kept.forget()
    assert not kept.path.exists()


def test_what_ran_beside_an_example_without_numbers_is_not_kept(tmp_path: Path) -> None:
    """Zero times no number is none: such an example reaches its neighbours in a row."""
    network, trained = upper_only("llama")
    sick, well = Encoded("sick", (7, 9, 8, 6), 2), Encoded("well", (10, 11, 12, 13, 14), 3)
    expected, _ = taught(network, trained, [well])
    with torch.no_grad():
        network.get_input_embeddings().weight[9] = torch.nan
    kept = use_lower_cache(network, trained, tmp_path)
    assert kept is not None
    for pack in ([sick, well], [well, sick]):
        assert math.isnan(answer_loss(network, pack)[0].item())
        assert taught(network, trained, [well])[0] == pytest.approx(expected, rel=1e-5)
        kept.forget()


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "IN_MEMORY", 0)
    network, trained = upper_only("llama")
    kept = use_lower_cache(network, trained, tmp_path)
    assert kept is not None
    with (
        full_disk(1000),
        pytest.raises(DiskError, match=r"cannot write .*lower\.bin: File too large"),
    ):
        taught(network, trained, examples())


@pytest.mark.parametrize(
    "why", ["all train", "embeddings train", "dropout", "dropout of a block", "padded", "plain"]
)
def test_where_lower_blocks_change_they_run(why: str, tmp_path: Path) -> None:
    network, trained = upper_only("bloom" if why == "padded" else "gpt2")
    if why == "all train":
        trained = list(network.parameters())
    elif why == "embeddings train":
        trained = [*trained, network.get_input_embeddings().weight]
    elif why == "dropout":
        network.transformer.drop.p = 0.1
    elif why == "dropout of a block":
        network.transformer.h[0].mlp.residual_dropout = 0.1
    settings = TrainingSettings(plain=why == "plain")
    assert keep_lower(network, settings, trained, tmp_path) is None
