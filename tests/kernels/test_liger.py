"""Liger's kernels: when they are believed, and what they give where there is a GPU."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import Heard
from tests.training.test_packing import distance, examples, plain_loss
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sartor.kernels import calls, liger
from sartor.kernels.elementwise import elementwise
from sartor.progress import shown_by
from sartor.training.fused import use_fused
from sartor.training.packed_attention import use_packed_attention
from sartor.training.packing import answer_loss

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    liger.works.cache_clear()
    yield
    liger.works.cache_clear()


def normed(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, Any]:
    scale = (x.float().square().mean(-1, keepdim=True) + epsilon).rsqrt()
    return (x * scale).to(x.dtype) * weight, scale


def normed_back(x: Any, weight: Any, scale: Any, dy: torch.Tensor) -> torch.Tensor:
    given = dy.float() * weight
    along = (given * x * scale).mean(-1, keepdim=True)
    made: torch.Tensor = ((given - x * scale * along) * scale).to(x.dtype)
    return made


def gate_back(gate: Any, up: Any, dy: Any, room: Any) -> tuple[torch.Tensor, torch.Tensor]:
    leaves = [t.detach().requires_grad_() for t in (gate, up)]
    with torch.enable_grad():
        d_gate, d_up = torch.autograd.grad(functional.silu(leaves[0]) * leaves[1], leaves, dy)
    return d_gate, d_up


RIGHT: dict[str, Any] = {
    "norm": normed, "norm_back": normed_back, "gated": lambda g, u: functional.silu(g) * u,
    "gated_back": gate_back,
}  # fmt: skip


def broken(*_: Any) -> Any:
    raise NotImplementedError("no such architecture\nas this")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({}, None),
        ({"norm": broken}, "NotImplementedError: no such architecture)"),
        ({"norm_back": lambda x, weight, scale, dy: dy}, "its norm is another"),
        ({"gated": lambda gate, up: gate * up}, "its gate is another"),
        ({"gated_back": lambda gate, up, dy, room: (dy, dy)}, "its gate is another"),
        ({"gated": lambda gate, up: gate * torch.nan}, "its gate is another"),
    ],
)
@pytest.mark.parametrize("dtype", liger.KINDS)
def test_kernels_are_believed_when_they_give_what_torch_does(
    dtype: torch.dtype, wrong: dict[str, Any], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, function in {**RIGHT, **wrong}.items():
        monkeypatch.setattr(liger, name, function)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    heard = Heard()
    with shown_by(heard):
        assert [liger.works(CPU, dtype) for _ in range(2)] == [reason is None] * 2
    assert len(heard.said) == (reason is not None)
    assert reason is None or reason in heard.said[0]


def test_without_the_extra_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    heard = Heard()
    with shown_by(heard):
        assert not liger.works(CPU, torch.bfloat16)
    assert not heard.said


def test_liger_computes_where_c_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "fits", lambda *_: False)
    assert elementwise(torch.ones(1)) is None
    monkeypatch.setattr(liger, "fits", lambda *_: True)
    assert elementwise(torch.ones(1)) is liger


@pytest.mark.parametrize("refused", [(2, 1 << 17), (2, 8)])
def test_what_is_too_wide_or_on_a_cpu_is_not_for_liger(refused: tuple[int, int]) -> None:
    device = "cpu" if refused[1] == 8 else "meta"
    assert not liger.fits(torch.empty(refused, device=device))


def library(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Liger's functions, with the arguments of its version 0.8.5 and as it hands back; which of
    them were called."""
    called: list[str] = []

    def rms_norm_forward(
        X: Any,  # noqa: N803
        W: Any,  # noqa: N803
        eps: float,
        offset: float,
        casting_mode: str,
        row_mode: Any,
    ) -> Any:
        assert (offset, casting_mode, row_mode) == (0.0, "llama", True)
        assert X.is_contiguous()
        called.append("norm")
        y, scale = normed(X, W, eps)
        return y, X.view(-1, X.shape[-1]), scale.flatten(), 64, 8, 0

    def rms_norm_backward(
        dY: Any, X: Any, W: Any, RSTD: Any, offset: float, casting_mode: int,  # noqa: N803
        BLOCK_SIZE: int, num_warps: int, in_place: bool, row_mode: Any, needs_dw: bool,  # noqa: N803
    ) -> Any:  # fmt: skip
        assert (offset, casting_mode, BLOCK_SIZE, num_warps) == (0.0, 7, X.shape[-1], 4)
        assert (in_place, row_mode, needs_dw) == (False, True, False)
        called.append("norm_back")
        rows = dY.view(-1, dY.shape[-1])
        return normed_back(X, W, RSTD[:, None], rows).view(dY.shape), None

    def swiglu_forward(a: Any, b: Any) -> Any:
        called.append("gated")
        return a.view(-1, a.shape[-1]), b, functional.silu(a) * b

    def swiglu_backward(a: Any, b: Any, dc: Any) -> Any:
        called.append("gated_back")
        d_a, d_b = gate_back(a, b, dc, None)
        return a.copy_(d_a).view(dc.shape), b.copy_(d_b).view(dc.shape)

    def calculate_settings(n: int) -> tuple[int, int]:
        return n, 4

    parts: dict[str, dict[str, Any]] = {
        "rms_norm": {
            "rms_norm_forward": rms_norm_forward, "rms_norm_backward": rms_norm_backward,
            "_str_to_casting_mode": {"llama": 7},
        },
        "swiglu": {"swiglu_forward": swiglu_forward, "swiglu_backward": swiglu_backward},
        "utils": {"calculate_settings": calculate_settings},
    }  # fmt: skip
    for name in ("liger_kernel", "liger_kernel.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, functions in parts.items():
        module = ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, f"liger_kernel.ops.{name}", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return called


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_liger_is_handed_what_it_takes(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    called = library(monkeypatch)
    heard = Heard()
    with shown_by(heard):
        assert liger.works(CPU, dtype)
    assert not heard.said
    assert called == ["norm", "norm_back", "gated", "gated_back"]


def test_training_through_liger_has_the_gradients_of_plain_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    config = LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")
    network = tiny_models.network("llama").requires_grad_(False)
    network = inject_adapter_in_model(config, network)
    expected = plain_loss(network, examples())
    trained = [p for p in network.parameters() if p.requires_grad]
    own = torch.autograd.grad(expected, trained)
    called = library(monkeypatch)
    monkeypatch.setattr(calls, "fits", lambda *_: False)
    monkeypatch.setattr(liger, "fits", lambda *_: True)
    assert use_packed_attention(network)
    assert use_fused(network)
    called.clear()
    network.train()
    loss, _ = answer_loss(network, examples())
    found = torch.autograd.grad(loss, trained)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    whole = [torch.cat([one.flatten() for one in each]) for each in (found, own)]
    assert distance(whole[0], whole[1]) <= 5e-5
    layers = network.config.num_hidden_layers
    assert (
        called.count("norm_back") == 2 * layers
    )  # the first one needs no way back, but the last does
    assert called.count("gated_back") == layers


def test_a_trial_in_the_midst_of_a_checkpointed_block_stays_out_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library(monkeypatch)
    heard = Heard()

    def block(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            assert liger.works(CPU, torch.bfloat16)
        return (x * x).sin()

    x = torch.ones(3, requires_grad=True)
    with shown_by(heard):
        checkpoint(block, x, use_reentrant=False).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * torch.cos(torch.ones(3)))
    assert not heard.said


def test_memory_that_runs_out_in_a_trial_is_no_fault_of_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library(monkeypatch)

    def short(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as once:
        once.setattr(liger, "norm", short)
        with pytest.raises(torch.OutOfMemoryError):
            liger.works(CPU, torch.float32)
    assert liger.works(CPU, torch.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", liger.KINDS)
def test_a_gpu_has_them(dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    pytest.importorskip("liger_kernel", reason="the extra liger is not installed")
    assert not liger._differs(torch.device("cuda"), dtype)
