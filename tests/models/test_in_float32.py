"""What a network is tried on is computed in float32, whatever its weights are in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import tiny_models
from transformers import AutoConfig, AutoModelForCausalLM

from sartor.models import packed_forward
from sartor.models.in_float32 import TOLERANCE, computes_in, in_float32, tried
from sartor.models.prefix import of_tokens
from sartor.training import answers_only
from sartor.training.packed_attention import is_packed, use_packed_attention
from sartor.training.settings import TrainingSettings
from sartor.training.tricks import use_tricks

IDS = torch.tensor([[5, 3, 4, 3, 5, 4, 6]])


def rough(dtype: torch.dtype = torch.bfloat16) -> Any:
    """Layers enough, and weights large enough, that rounding in bfloat16 changes what it gives."""
    config = AutoConfig.for_model(**tiny_models.network("llama").config.to_dict())
    config.num_hidden_layers = 16
    config.layer_types = None
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "proj" in name:
                parameter.mul_(20)
    return network.to(dtype)


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(input_ids=IDS, use_cache=False).logits[0]
    return found


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).float().abs().mean() / other.float().abs().mean())


def test_a_network_whose_rounding_hides_it_runs_in_packs_and_rows() -> None:
    network = rough()
    of_its_own = logits(network)
    network.set_attn_implementation("eager")
    assert apart(logits(network), of_its_own) > TOLERANCE["bfloat16"]
    network.set_attn_implementation("sdpa")
    assert packed_forward.runs_rows(network)
    use_tricks(network, TrainingSettings())
    assert is_packed(network)
    assert answers_only.is_narrowed(network)


def test_behind_a_prefix_too() -> None:
    network = rough()
    assert use_packed_attention(network, of_tokens(network, [7, 8, 9]))


def test_it_gives_what_its_weights_give_in_float32_and_has_its_own_again() -> None:
    network = rough()
    own = dict(network.named_parameters())
    before = logits(network)
    with in_float32(network):
        assert computes_in(network) is torch.float32
        found = logits(network)
    assert found.dtype is torch.float32
    # The weights are bfloat16's, so the sum in float32 is that of the same network made float32.
    assert apart(found, logits(rough().float())) < 1e-5
    assert computes_in(network) is torch.bfloat16
    assert all(own[name] is parameter for name, parameter in network.named_parameters())
    assert torch.equal(logits(network), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_what_fails_in_float32_is_tried_in_the_numbers_of_its_own() -> None:
    network = rough()
    own = dict(network.named_parameters())

    def attempt() -> torch.dtype:
        if computes_in(network) is torch.float32:
            network(input_ids=IDS, attention_mask="no mask")
        return computes_in(network)

    with pytest.raises((TypeError, ValueError, RuntimeError, AttributeError)), in_float32(network):
        attempt()
    assert tried(network, attempt) is torch.bfloat16
    assert all(own[name] is parameter for name, parameter in network.named_parameters())


def test_a_network_that_takes_no_packs_keeps_its_own_attention() -> None:
    """An error of any kind on the way to packs: nothing is left switched."""
    network = rough()
    own, forward = network.config._attn_implementation, network.forward

    def refusing(*args: Any, spans: Any = None, **given: Any) -> Any:
        if spans is not None:
            raise IndexError("no rows")
        return forward(*args, **given)

    network.forward = refusing
    assert not use_packed_attention(network)
    assert network.config._attn_implementation == own


def test_what_takes_no_float32_is_tried_in_its_own_numbers() -> None:
    network = rough().to(torch.bfloat16)
    for parameter in network.parameters():
        parameter.data.mul_(0.1)  # so small that rounding hides nothing
    decoder = network.get_decoder()
    forward = decoder.forward

    def only_halves(*args: Any, **given: Any) -> Any:
        if computes_in(network) is torch.float32:
            raise TypeError("no float32")
        return forward(*args, **given)

    decoder.forward = only_halves
    use_tricks(network, TrainingSettings())
    assert is_packed(network)
    assert answers_only.is_narrowed(network) or getattr(network, answers_only.USED)
