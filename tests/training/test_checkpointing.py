"""Blocks that are run again, and a last block that works at answers only: the same gradients."""

from __future__ import annotations

import copy
from typing import Any, Literal

import pytest
import torch
from tests import tiny_models
from tests.training.test_fused import adapted
from tests.training.test_gradients import behind_prefix
from tests.training.test_packing import PACKED, distance, examples, kin, plain_loss

from sartor.models.prefix import Prefix, of_tokens
from sartor.training.answers_only import use_answers_only
from sartor.training.packed_attention import is_packed
from sartor.training.packing import answer_loss, at_once, packs
from sartor.training.settings import TrainingSettings
from sartor.training.tricks import use_tricks

ARCHITECTURES = [name for name in tiny_models.ARCHITECTURES if name != "mamba"]


def gradient(network: Any, loss: torch.Tensor) -> torch.Tensor:
    trained = [p for p in network.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, trained, allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


@pytest.mark.reference
@pytest.mark.parametrize(
    ("architecture", "how"),
    [*((name, "on") for name in ARCHITECTURES), ("llama", "offload"), ("gpt_neo", "offload")],
)
def test_with_every_trick_and_blocks_run_again_the_gradient_is_the_plain_one(
    architecture: str, how: Literal["on", "offload"]
) -> None:
    network = tiny_models.network(architecture)
    pack = kin()
    expected = plain_loss(network, pack)
    whole = gradient(network, expected)
    use_tricks(network, TrainingSettings(checkpointing=how))
    network.train()
    loss, _ = answer_loss(network, pack)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert distance(gradient(network, loss), whole) < 1e-4


@pytest.mark.reference
@pytest.mark.parametrize("architecture", ["llama", "biogpt", "bloom", "falcon", "mpt"])
@pytest.mark.parametrize("how", ["on", "offload"])
def test_so_is_that_of_a_prefix(architecture: str, how: Literal["on", "offload"]) -> None:
    """Where no packs run it is a cache, to which a block that is run again adds a second time."""
    network = tiny_models.network(architecture).requires_grad_(False)
    first = of_tokens(network, [7, 9, 8])
    parts = [t.clone().requires_grad_() for pair in first.layers for t in pair]
    prefix = Prefix(tuple(zip(parts[::2], parts[1::2], strict=True)))
    expected = behind_prefix(network, kin(), prefix)
    whole = torch.autograd.grad(expected, parts)
    use_tricks(network, TrainingSettings(checkpointing=how), prefix)
    network.train()
    loss, _ = answer_loss(network, kin(), prefix)
    found = torch.autograd.grad(loss, parts)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert distance(*(torch.cat([g.flatten() for g in all_of]) for all_of in (found, whole))) < 1e-4


def test_blocks_that_are_run_again_keep_less() -> None:
    def kept(checkpointing: Literal["on", "off"]) -> int:
        network = adapted("llama")
        use_tricks(network, TrainingSettings(checkpointing=checkpointing))
        network.train()
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_leaf or not tensor.requires_grad:
                seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss, _ = answer_loss(network, examples())
        loss.backward()  # type: ignore[no-untyped-call]
        return sum(seen.values())

    assert kept("on") < 0.6 * kept("off")


@pytest.mark.parametrize("architecture", PACKED)
def test_the_last_block_works_at_answers_only_and_gives_the_same(architecture: str) -> None:
    network = tiny_models.network(architecture)
    whole = copy.deepcopy(network)
    rows: list[int] = []
    decoder = network.get_decoder()
    last = (decoder.h if hasattr(decoder, "h") else decoder.layers)[-1].mlp
    inner = next(m for m in last.modules() if list(m.children()) == [] and list(m.parameters()))
    inner.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[-2]))
    for one in (network, whole):
        use_tricks(one, TrainingSettings(checkpointing="off"))
    rows.clear()
    assert use_answers_only(tiny_models.network(architecture), (5, 3, 4, 6, 7)) > 0
    loss, scored = answer_loss(network, examples())
    assert rows == [scored]
    whole._sartor_answers_only = False
    other, _ = answer_loss(whole, examples())
    assert loss.item() == pytest.approx(other.item(), rel=1e-5)
    assert distance(gradient(network, loss), gradient(whole, other)) < 1e-5


def test_a_last_block_that_mixes_tokens_is_left_as_it_was() -> None:
    network = tiny_models.network("llama")
    last = network.model.layers[-1].mlp
    own = last.forward
    last.forward = lambda x: own(x) + x.mean(1, keepdim=True)
    assert use_answers_only(network, (5, 3, 4, 6, 7)) == 0
    assert last.forward(torch.ones(1, 3, 32)).shape == (1, 3, 32)


@pytest.mark.reference
def test_a_last_block_that_is_run_several_times_is_left_as_it_was() -> None:
    """What it gives of a prompt's tokens, its next run reads; small weights hardly tell."""
    network = tiny_models.network("hrm_text")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 / 3 if parameter.dim() > 1 else 1)
    expected = plain_loss(network, examples())
    whole = gradient(network, expected)
    use_tricks(network, TrainingSettings(checkpointing="off"))
    loss, _ = answer_loss(network, examples())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert distance(gradient(network, loss), whole) < 5e-5


def test_plain_training_uses_no_trick() -> None:
    network = adapted("llama")
    use_tricks(network, TrainingSettings(plain=True))
    assert not is_packed(network)
    assert not any("forward" in vars(module) for module in network.modules())


def test_packs_count_what_is_shared_once_and_keep_kin_together() -> None:
    pack = kin()
    alone = [[e.id for e in part] for part in packs(pack, 160)]
    together = [[e.id for e in part] for part in packs(pack, 160, shared=True)]
    assert len(together) < len(alone)
    assert sorted(id for part in together for id in part) == ["e0", "e1", "e2", "e3"]


def test_wide_models_take_fewer_tokens_at_once_on_a_cpu() -> None:
    network = tiny_models.network("llama")
    assert at_once(network, 4096) == 4096  # it runs no packs as yet
    use_tricks(network, TrainingSettings())
    assert at_once(network, 4096) == 4096
    network.get_input_embeddings().weight = torch.nn.Parameter(torch.empty(1, 2048, device="cpu"))
    assert at_once(network, 4096) == 1024
