"""Liger's kernels: when they are believed, and what they give where there is a GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.training.test_loop import Heard
from torch.nn import functional

from sartor.kernels import calls, liger
from sartor.kernels.elementwise import elementwise
from sartor.progress import shown_by

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


def test_who_computes_on_what() -> None:
    assert elementwise(torch.ones(1)) is (calls if calls.fits(torch.ones(1)) else None)
    assert elementwise(torch.ones(1, dtype=torch.float64)) is None
    assert elementwise(torch.ones(1, device="meta")) is None


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", liger.KINDS)
def test_a_gpu_has_them(dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    pytest.importorskip("liger_kernel", reason="the extra liger is not installed")
    assert not liger._differs(torch.device("cuda"), dtype)
