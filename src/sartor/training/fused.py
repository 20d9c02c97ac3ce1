"""A transformer's common layers with their gradients derived by hand: the same values, less memory.

Each replaces a module's `forward`, and only where it gives what the module gives: that is tried on
a few random numbers first, so an architecture that computes something else under the same names
keeps its own. What is saved for the backward pass is the input, not every step on the way, and
not even that where it can be made again (remade.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.kernels import calls
from sartor.models.norms import is_norm
from sartor.training.dropping import drops
from sartor.training.feed_forward import fed_forward, is_gated, is_known
from sartor.training.low_rank import Sums, adapted, is_adapted, is_linear, linear
from sartor.training.norm import normed
from sartor.training.remade import Remade, is_off, note

TOLERANCE = 4e-2
"""Largest difference from the module's output, in parts of its mean size: what bfloat16 rounds, the
module after each step and what is compiled once."""
ROWS = 3
"""Rows of random numbers that a replacement is tried on."""
SIZES = (1.0, 1e3)
"""Of those numbers: what bounds large ones (DeepSeek 4) is not seen in small ones."""
LARGEST_HALF = 30.0
"""Of them in float16, whose products go no farther than 65,504."""


def use_fused(network: Any) -> int:
    """Replace what can be replaced; how many modules that is."""
    replaced, known = 0, _replacements()
    head = getattr(network, "get_output_embeddings", lambda: None)()  # see head.py
    for module in list(network.modules()):
        if module is head or drops([module, *module.children()]):
            continue
        for fits, made in known:
            if fits(module) and _same(module, forward := made(module)):
                module.forward = forward
                replaced += 1
                break
    return replaced


def _replacements() -> tuple[tuple[Any, Any], ...]:
    """Which modules, and their other forward; the first that fits and gives the same is taken."""
    sums = Sums()
    return (
        (is_adapted, partial(adapted, sums=sums)), (is_norm, normed),
        (is_known, partial(fed_forward, sums=sums)), (is_gated, _gated),
        (is_linear, partial(linear, sums=sums)),
    )  # fmt: skip


def _same(module: Any, forward: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    weight = next(module.parameters())
    width = int(getattr(module, "in_features", 0) or _width(module))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(1, ROWS, width, generator=generator)
    most = LARGEST_HALF if weight.dtype is torch.float16 else max(SIZES)
    return all(
        _near(module, forward, (drawn * min(size, most)).to(weight.device, weight.dtype))
        for size in SIZES
    )


def _near(module: Any, forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> bool:
    with torch.no_grad():
        own, other = module(x).float(), forward(x).float()
    return own.shape == other.shape and bool(
        (own - other).abs().max() <= TOLERANCE * own.abs().mean()
    )


def _width(module: Any) -> int:
    if is_gated(module):
        return int(getattr(module.gate_proj, "base_layer", module.gate_proj).in_features)
    return int(module.weight.shape[-1])


# Gated feed-forward. Shazeer 2020, arXiv:2002.05202.


def _gated(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        gate, up = module.gate_proj(x), module.up_proj(x)
        if gate.shape == up.shape and calls.fits(gate, up):
            gated = _Compiled.apply(gate, up)  # type: ignore[no-untyped-call]
            note(gated, calls.gated, gate, up)
        else:
            silu = None if is_off() else Remade(functional.silu, gate).read_by_one_more()
            gated = _Gate.apply(gate, up, silu)  # type: ignore[no-untyped-call]
            if silu is not None:
                note(gated, lambda up: silu.ahead() * up, up)
        result: torch.Tensor = module.down_proj(gated)
        return result

    return forward


class _Compiled(torch.autograd.Function):
    """silu(gate) * up, in one go."""

    @staticmethod
    def forward(ctx: Any, gate: Any, up: Any) -> Any:
        ctx.save_for_backward(gate, up)
        return calls.gated(gate, up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        gate, up = ctx.saved_tensors
        d_gate = gradients[0].clone(memory_format=torch.contiguous_format)
        d_up = torch.empty_like(d_gate)
        return calls.gated_back(gate, up, d_gate, d_up)


class _Gate(torch.autograd.Function):
    """silu(gate) * up."""

    @staticmethod
    def forward(ctx: Any, gate: Any, up: Any, silu: Remade | None) -> Any:
        ctx.save_for_backward(gate, up)
        ctx.silu = silu
        return functional.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        gate, up = ctx.saved_tensors
        dy = gradients[0]
        silu = functional.silu(gate) if ctx.silu is None else ctx.silu.value()
        return torch.ops.aten.silu_backward(dy * up, gate), dy * silu, None
