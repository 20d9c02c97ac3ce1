"""The loss over a vocabulary in pieces, against torch's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests import tiny_models

from sartor.training import head


def made(bias: bool = False, trained: bool = True) -> tuple[torch.Tensor, Any, torch.Tensor]:
    torch.manual_seed(3)
    layer = torch.nn.Linear(6, 40, bias=bias, dtype=torch.float64).requires_grad_(trained)
    hidden = torch.randn(33, 6, dtype=torch.float64, requires_grad=True)
    return hidden, layer, torch.randint(0, 40, (33,))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("gathered", [1, 40 * 25, 1 << 20])
@pytest.mark.parametrize("logits", [1, 40 * 20, 1 << 20])
@pytest.mark.parametrize("cached", [1, 40 * 7, 1 << 20])
def test_the_loss_and_its_gradients_are_those_of_all_logits_at_once(
    cached: int,
    logits: int,
    gathered: int,
    trained: bool,
    bias: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "LOGITS", logits)
    monkeypatch.setattr(head, "CACHED", cached)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(head, "GATHERED", gathered)
    hidden, layer, labels = made(bias, trained)
    wanted = [hidden, *(layer.parameters() if trained else ())]
    found = head.summed_loss(hidden, layer, labels)
    own = torch.autograd.grad(found * 3, wanted)
    expected = torch.nn.functional.cross_entropy(layer(hidden), labels, reduction="sum")
    other = torch.autograd.grad(expected * 3, wanted)
    assert found.item() == pytest.approx(expected.item(), abs=1e-4)  # summed in float32
    for one, another in zip(own, other, strict=True):
        assert torch.allclose(one, another, atol=1e-5)


def test_in_bfloat16_many_rows_add_up_in_the_gradient_of_a_bias(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "LOGITS", 1)
    torch.manual_seed(3)
    layer = torch.nn.Linear(6, 400, dtype=torch.bfloat16)
    hidden, labels = torch.randn(2000, 6, dtype=torch.bfloat16), torch.randint(0, 400, (2000,))
    found = torch.autograd.grad(head.summed_loss(hidden, layer, labels), layer.bias)[0].float()
    wide = copy.deepcopy(layer).float()
    loss = torch.nn.functional.cross_entropy(wide(hidden.float()), labels, reduction="sum")
    expected = torch.autograd.grad(loss, wide.bias)[0]
    assert float((found - expected).norm() / expected.norm()) < 1e-2


def test_nothing_is_learnt_without_gradients() -> None:
    hidden, layer, labels = made()
    with torch.no_grad():
        found = head.summed_loss(hidden, layer, labels)
    assert not found.requires_grad
    expected = torch.nn.functional.cross_entropy(layer(hidden), labels, reduction="sum")
    assert found.item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize(
    ("architecture", "plain"), [("llama", True), ("gpt2", True), ("gemma2", False)]
)
def test_it_is_used_where_logits_are_a_linear_map_and_not_where_they_are_bounded(
    architecture: str, plain: bool
) -> None:
    network = tiny_models.network(architecture).eval()
    assert head.use_plain_head(network, torch.tensor([5, 3, 4, 9])) is plain
    assert head.is_plain(network) is plain


def test_logits_that_are_scaled_are_no_linear_map() -> None:
    network = tiny_models.network("llama").eval()
    own = network.forward

    def scaled(*given: Any, **named: Any) -> Any:
        output = own(*given, **named)
        output.logits = output.logits / 2
        return output

    network.forward = scaled
    assert not head.use_plain_head(network, torch.tensor([5, 3, 4, 9]))
