"""Products of linear layers by oneDNN, against the layers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.models.test_generation import RAGGED, theirs, together

from sartor.models import products
from sartor.models.products import Products


@pytest.mark.reference
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 64])  # the last by what is compiled, where it can be
@pytest.mark.parametrize("packed", [True, False])
def test_a_product_is_the_layers_own(
    dtype: torch.dtype, bias: bool, rows: int, packed: bool
) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(48, 80, bias=bias, dtype=dtype)
    given = torch.randn(1, rows, 48).to(dtype)
    made = Products(layer)
    if packed:
        made.pack()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            found, own = made(layer, given), layer(given)
    finally:
        torch.set_num_threads(threads)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found, own, rtol=tolerance, atol=tolerance)


def test_a_layer_that_somebody_watches_or_that_is_another_kind_runs_itself() -> None:
    class Doubled(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    seen: list[Any] = []
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), Doubled(4, 4))
    network[0].register_forward_hook(lambda module, given, made: seen.append(given))
    product, given = Products(network), torch.ones(1, 4)
    with torch.inference_mode():
        for layer in network:
            assert torch.equal(product(layer, given), layer(given))
    assert len(seen) == 2  # once by itself, once by the product


@pytest.mark.reference
def test_weights_that_have_changed_since_give_other_answers() -> None:
    """Answers long enough for weights to be laid out anew; then training goes on."""
    network = tiny_models.network()
    before = together(network, RAGGED, ends=frozenset(), max_new_tokens=80)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(torch.linspace(0.5, 1.5, parameter.numel()).view_as(parameter))
    after = together(network, RAGGED, max_new_tokens=80)
    assert [row[:12] for row in before] != [row[:12] for row in after]
    assert [row[:12] for row in after] == [theirs(network, prompt) for prompt in RAGGED]


@pytest.mark.reference
def test_weights_that_are_too_many_to_stand_twice_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "PACKED_BYTES", 0)
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", None)  # not to be called
    network = tiny_models.network()
    found = together(network, RAGGED, max_new_tokens=80)
    assert [row[:12] for row in found] == [theirs(network, prompt) for prompt in RAGGED]
