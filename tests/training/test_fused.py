"""Layers with gradients derived by hand, and blocked attention, against torch's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import peft
import pytest
import torch
from tests import tiny_models

from sartor.techniques.weights import peft_errors
from sartor.training.attention_blocks import batches, every
from sartor.training.blocked_attention import blocked_attention
from sartor.training.feed_forward import _parts as parts_of
from sartor.training.fused import use_fused
from sartor.training.low_rank import Sums
from sartor.training.masks import hidden
from sartor.training.sharing import Span

SPANS = (
    Span(0, 4), Span(4, 11, ((0, 4),)), Span(11, 13, ((0, 4), (4, 11))), Span(13, 16),
    Span(16, 23, ((0, 4),)), Span(23, 30, ((0, 4),)), Span(30, 37, ((13, 16),)),
)  # fmt: skip


def plain(q: Any, k: Any, v: Any, spans: Any, scaling: float, window: int | None) -> torch.Tensor:
    groups = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0)
    parts = []
    for span in spans:
        places = [*(p for s, e in span.before for p in range(s, e)), *range(span.start, span.end)]
        scores = q[:, span.start : span.end] @ k[:, places].transpose(1, 2) * scaling
        unseen = hidden(span.offset, len(places), 0, window, q.device)
        parts.append(scores.masked_fill(unseen, float("-inf")).softmax(-1) @ v[:, places])
    return torch.cat(parts, 1).transpose(0, 1)[None]


@pytest.fixture
def no_kept_batches() -> Iterator[None]:
    """Their sizes are no part of what they are kept by."""
    batches.cache_clear()
    yield
    batches.cache_clear()


@pytest.mark.usefixtures("no_kept_batches")
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)])
@pytest.mark.parametrize(("queries", "last"), [(2, 1), (4, 2), (128, 64)])
@pytest.mark.parametrize("kept", [5, 1024])
@pytest.mark.parametrize("scores", [1, 1 << 23])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])  # the latter is compiled
def test_blocked_attention_and_its_gradient(
    dtype: torch.dtype,
    scores: int,
    kept: int,
    queries: int,
    last: int,
    heads: tuple[int, int],
    window: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sartor.training.blocked_attention.KEPT", kept)
    monkeypatch.setattr("sartor.training.blocked_attention.SCORES", scores)
    monkeypatch.setattr("sartor.training.attention_blocks.QUERIES", queries)
    monkeypatch.setattr("sartor.training.attention_blocks.LAST", last)
    generator = torch.Generator().manual_seed(1)
    q, k, v = (
        torch.randn(n, SPANS[-1].end, 4, generator=generator, dtype=dtype, requires_grad=True)
        for n in (heads[0], heads[1], heads[1])
    )
    made = blocked_attention(q, k, v, SPANS, 0.4, window)
    expected = plain(q, k, v, SPANS, 0.4, window)
    near = partial(torch.allclose, atol=1e-8 if dtype is torch.float64 else 3e-6)
    assert near(made, expected)
    weights = torch.randn(made.shape, generator=generator, dtype=dtype)
    own = torch.autograd.grad((made * weights).sum(), (q, k, v))
    other = torch.autograd.grad((expected * weights).sum(), (q, k, v))
    for one, another in zip(own, other, strict=True):
        assert near(one, another)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_no_number_in_an_example_stays_out_of_its_neighbours(which: int) -> None:
    spans = (Span(0, 5), Span(5, 10), Span(10, 12))  # the first two in one product
    drawn = [torch.randn(2, 12, 3) for _ in range(3)]
    drawn[which][:, 6] = torch.nan
    q, k, v = (tensor.requires_grad_() for tensor in drawn)
    made = blocked_attention(q, k, v, spans, 0.4)
    other = [0, 1, 2, 3, 4, 10, 11]
    assert made[0, other].isfinite().all()
    assert not made[0, 5:10].isfinite().all()
    for gradient in torch.autograd.grad(made.sum(), (q, k, v)):
        assert gradient[:, other].isfinite().all()


def test_blocks_of_one_size_go_into_one_product_and_into_few_sizes() -> None:
    spans = [Span(start, start + 100, ((0, 7),)) for start in range(7, 1307, 100)]
    runs = tuple(every(spans))
    products = batches(runs, None, 1 << 30, 1307, 1307, torch.device("cpu"))
    assert [len(product.blocks) for product in products] == [8, 4, 1]
    assert sorted(block.row for product in products for block in product.blocks) == [
        span.start for span in spans
    ]
    alone = batches(runs, None, 1, 1307, 1307, torch.device("cpu"))
    assert [len(product.blocks) for product in alone] == [1] * 13


def adapt(network: Any, **settings: Any) -> None:
    with peft_errors("lora"):
        peft.get_peft_model(
            network,
            peft.LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **settings),
        )


def adapted(architecture: str, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(2)
    network = tiny_models.network(architecture).to(dtype)
    adapt(network, r=4, lora_alpha=12)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return network


def gradients(network: Any) -> tuple[float, torch.Tensor]:
    ids = torch.randint(6, 300, (2, 12), generator=torch.Generator().manual_seed(3))
    loss = network(input_ids=ids, labels=ids).loss
    loss.backward()
    found = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return loss.item(), torch.cat(found)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gemma2", "gpt2", "bloom"])
@pytest.mark.parametrize("trained", ["adapters", "all"])
def test_gradients_are_those_of_the_modules_own(architecture: str, trained: str) -> None:
    network = tiny_models.network(architecture) if trained == "all" else adapted(architecture)
    other = copy.deepcopy(network)
    replaced = use_fused(network)
    if architecture in {"llama", "qwen2", "mistral"}:
        assert replaced > 4
    own, expected = gradients(network), gradients(other)
    assert own[0] == pytest.approx(expected[0], rel=1e-6)
    assert float((own[1] - expected[1]).norm() / expected[1].norm()) < 1e-5


@pytest.mark.parametrize("numbers", [1, 200])
@pytest.mark.parametrize("trained", ["adapters", "all"])
def test_norms_of_some_rows_at_a_time_are_the_same(
    trained: str, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sartor.training.norm.NUMBERS", numbers)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    test_gradients_are_those_of_the_modules_own("llama", trained)


def test_in_bfloat16_gradients_differ_by_rounding_alone() -> None:
    reference = gradients(adapted("llama"))[1]
    network = adapted("llama", torch.bfloat16)
    assert use_fused(network) > 4
    own = gradients(network)[1]
    assert float((own - reference).norm() / reference.norm()) < 2e-2
    assert own.dtype == torch.float32


def test_in_two_bytes_a_number_more_rows_go_into_a_product() -> None:
    rows = torch.empty(4000, 1)
    assert len(parts_of(rows)) > len(parts_of(rows.bfloat16())) > 1


@pytest.mark.parametrize("rows", [5, 24])
def test_some_rows_at_a_time_gradients_are_the_same(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 rows: 5 at a time, the last nine in two parts; and all at once."""
    monkeypatch.setattr("sartor.training.feed_forward.ROWS", rows)
    network = adapted("llama")
    expected = gradients(copy.deepcopy(network))
    assert use_fused(network) > 4
    own = gradients(network)
    assert own[0] == pytest.approx(expected[0], rel=1e-6)
    assert float((own[1] - expected[1]).norm() / expected[1].norm()) < 1e-5


def test_rows_in_parts_are_all_of_them_and_few_of_them_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sartor.training.feed_forward.ROWS", 4)
    for count in range(1, 30):
        rows = torch.arange(count)
        parts = [rows[part].tolist() for part in parts_of(rows)]
        assert [row for part in parts for row in part] == list(range(count))
        assert all(len(part) >= 2 for part in parts[1:])


def test_weights_with_their_adapters_are_written_over_by_the_next_layer() -> None:
    weight = torch.randn(8, 4)
    sums = Sums()
    first = sums.room(0, weight)
    assert sums.room(0, torch.randn(8, 4)) is first
    assert sums.room(1, weight) is not first  # needed at once
    assert sums.room(0, weight.double()).dtype is torch.float64


def test_a_feed_forward_layer_that_somebody_watches_calls_its_layers() -> None:
    network = adapted("llama")
    seen: list[Any] = []
    watched = network.model.layers[0].mlp.gate_proj
    watched.register_forward_hook(lambda module, given, made: seen.append(made))
    use_fused(network)
    gradients(network)
    assert seen


def test_behind_frozen_layers_the_gradient_passes_through() -> None:
    """As where virtual tokens train: nothing in the layer does."""
    network = tiny_models.network("llama").requires_grad_(False)
    own = copy.deepcopy(network.model.layers[0].mlp)
    use_fused(network)
    fused = network.model.layers[0].mlp
    x = torch.randn(1, 7, network.config.hidden_size, requires_grad=True)
    expected = torch.autograd.grad(own(x).square().sum(), x)[0]
    assert torch.allclose(
        torch.autograd.grad(fused(x).square().sum(), x)[0], expected, rtol=1e-4, atol=1e-6
    )
    assert "forward" in vars(fused)


def test_what_computes_something_else_keeps_its_own() -> None:
    network = adapted("llama")
    layer = network.model.layers[0]
    own = type(layer.input_layernorm)

    class TwiceRMSNorm(own):  # type: ignore[valid-type, misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)  # type: ignore[no-any-return]

    layer.input_layernorm.__class__ = TwiceRMSNorm
    use_fused(network)
    assert "forward" not in vars(layer.input_layernorm)
    assert "forward" in vars(layer.post_attention_layernorm)


def test_what_bounds_large_numbers_keeps_its_own() -> None:
    network = tiny_models.network("llama")
    mlp = network.model.layers[0].mlp
    own = type(mlp)

    class Bounded(own):  # type: ignore[valid-type, misc]
        def forward(self, x: torch.Tensor) -> Any:
            gate, up = self.gate_proj(x).clamp(max=9.0), self.up_proj(x).clamp(-9.0, 9.0)
            return self.down_proj(self.act_fn(gate) * up)

    mlp.__class__ = Bounded
    use_fused(network)
    assert "forward" not in vars(mlp)
    assert "forward" in vars(network.model.layers[1].mlp)


def test_in_float16_feed_forwards_are_fused_too() -> None:
    network = tiny_models.network("llama").to(torch.float16)
    for layer in network.model.layers:  # as wide layers give: a thousand times that overflows
        layer.mlp.gate_proj.weight.data.mul_(20)
    use_fused(network)
    assert "forward" in vars(network.model.layers[0].mlp)


def test_what_drops_by_chance_keeps_its_own() -> None:
    network = tiny_models.network("seed_oss")
    use_fused(network)
    layer = network.model.layers[0]
    assert "forward" not in vars(layer.mlp)
    assert "forward" in vars(layer.input_layernorm)


def test_experts_that_hold_bare_tensors_keep_their_own() -> None:
    network = tiny_models.network("llama")
    mlp = network.model.layers[0].mlp
    for name in ("gate_proj", "up_proj", "down_proj"):
        weight = getattr(mlp, name).weight
        delattr(mlp, name)
        setattr(mlp, name, weight)
    use_fused(network)
    assert "forward" not in vars(mlp)


@pytest.mark.parametrize("setting", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_other_adapters_keep_their_own(setting: dict[str, Any]) -> None:
    network = tiny_models.network("llama")
    adapt(network, **setting)
    use_fused(network)
    projection = network.model.layers[0].self_attn.q_proj
    assert "forward" not in vars(projection)


def test_a_plain_linear_layer_takes_what_torchs_takes() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Linear(6, 4)).requires_grad_(
        False
    )
    own = copy.deepcopy(network)
    assert use_fused(network) == 2
    layer: Any = network[0]
    for x in (torch.randn(3, 8), torch.randn(8), torch.randn(2, 3, 8), torch.randn(2, 0, 8)):
        torch.testing.assert_close(layer(input=x), own[0](x))
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.randn(3, 8).bfloat16())
    layer.bias.requires_grad_()
    network(torch.randn(3, 8)).sum().backward()
    assert layer.bias.grad is not None


def test_a_layer_whose_forward_is_somebodys_keeps_it() -> None:
    layer = torch.nn.Linear(8, 6).requires_grad_(False)
    calls: list[int] = []
    before = layer.forward

    def counted(input: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return before(input)

    layer.forward = counted  # type: ignore[method-assign]
    assert use_fused(torch.nn.Sequential(layer)) == 0
    layer(torch.randn(2, 8))
    assert calls
