"""Blocks of Llama's build run leanly: the same loss and gradient, and the others left alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_packing import distance, plain_loss

from sartor.training import attention_blocks
from sartor.training.fused import use_fused
from sartor.training.lean_blocks import use_lean_blocks
from sartor.training.packed_attention import use_packed_attention
from sartor.training.packing import Encoded, answer_loss
from sartor.training.sharing import Span

LENGTHS = ((60, 9), (150, 40), (3, 2), (64, 80), (300, 5))
"""Tokens of prompts and answers: less than a block, more than one, and answers over its edge."""


def examples() -> list[Encoded]:
    """Two of them begin alike."""
    generator = torch.Generator().manual_seed(4)
    beginning = torch.randint(6, 300, (50,), generator=generator).tolist()
    made = []
    for number, (prompt, answer) in enumerate(LENGTHS):
        tokens = torch.randint(6, 300, (prompt + answer,), generator=generator).tolist()
        if number < 2:
            tokens[:50] = beginning
        made.append(Encoded(f"e{number}", tuple(tokens), prompt))
    return made


def lean(architecture: str) -> tuple[Any, Any, bool]:
    """A network made lean, as it was before, and whether it was done."""
    torch.manual_seed(3)
    network = tiny_models.network(architecture)
    before = copy.deepcopy(network)
    assert use_packed_attention(network)
    use_fused(network)
    return network, before, use_lean_blocks(network)


def gradients(network: Any, loss: torch.Tensor) -> torch.Tensor:
    network.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "mistral"])
def test_loss_and_gradient_are_those_of_each_example_alone(architecture: str) -> None:
    network, before, done = lean(architecture)
    assert done
    pack = examples()
    loss, count = answer_loss(network, pack)
    expected = plain_loss(before, pack, None)
    assert count == sum(answer for _, answer in LENGTHS)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert distance(gradients(network, loss), gradients(before, expected)) < 5e-5


def test_the_last_block_is_put_through_at_scored_places_alone() -> None:
    network, _, _ = lean("llama")
    seen: list[int] = []
    for layer in network.model.layers:
        layer.mlp.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    answer_loss(network, examples())
    assert seen[-1] == sum(answer for _, answer in LENGTHS)
    assert min(seen[:-1]) > 600


@pytest.mark.parametrize(
    "architecture", ["gemma2", "gpt2", "olmo2", "granite", "olmo_clipped", "seed_oss"]
)
def test_what_is_built_otherwise_keeps_its_own_blocks(architecture: str) -> None:
    network, _, done = lean(architecture)
    assert not done
    assert not any("forward" in vars(m) for n, m in network.named_modules() if n.endswith(".0"))


@pytest.mark.parametrize("much", [1.0, 0.005])
def test_a_block_that_computes_something_else_is_found_out(much: float) -> None:
    torch.manual_seed(3)
    network = tiny_models.network("llama")
    layer = network.model.layers[0]
    own = type(layer)

    class Other(own):  # type: ignore[valid-type, misc]
        def forward(self, *given: Any, **named: Any) -> torch.Tensor:
            made: torch.Tensor = super().forward(*given, **named)
            return made + much * made.roll(1, -1)

    layer.__class__ = Other
    assert use_packed_attention(network)
    assert not use_lean_blocks(network)
    assert not any("forward" in vars(block) for block in network.model.layers)


def test_examples_of_any_length_ask_for_few_shapes_of_product() -> None:
    shapes = set()
    for length in range(1, 600):
        for run in attention_blocks.every([Span(7, 7 + length)]):
            blocks = list(attention_blocks.blocks(run, None))
            assert sum(block.count for block in blocks) == length
            shapes |= {(b.end - b.start, b.end - b.first) for b in blocks}
    assert len(shapes) == 2 * 5
