"""A transformer's common layers with their gradients derived by hand: the same values, less memory.

Each replaces a module's `forward`, and only where it gives what the module gives: that is tried on
a few random numbers first, so an architecture that computes something else under the same names
keeps its own. What is saved for the backward pass is the input, not every step on the way, and
not even that where it can be made again (remade.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.training.remade import Remade, is_off, note, noted

TOLERANCE = 2e-2
"""Largest difference from the module's output, in parts of its mean size: bfloat16's rounding."""
ROWS = 3
"""Rows of random numbers that a replacement is tried on."""


def use_fused(network: Any) -> int:
    """Replace what can be replaced; how many modules that is."""
    replaced = 0
    for module in list(network.modules()):
        for fits, made in ((_is_adapted, _adapted), (_is_norm, _norm), (_is_gated, _gated)):
            if fits(module) and _same(module, forward := made(module)):
                module.forward = forward
                replaced += 1
                break
    return replaced


def _same(module: Any, forward: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    weight = next(module.parameters())
    width = int(getattr(module, "in_features", 0) or _width(module))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, ROWS, width, generator=generator)
    x = x.to(weight.device, weight.dtype)
    with torch.no_grad():
        own, other = module(x).float(), forward(x).float()
    return own.shape == other.shape and bool(
        (own - other).abs().max() <= TOLERANCE * own.abs().mean()
    )


def _width(module: Any) -> int:
    if _is_gated(module):
        return int(getattr(module.gate_proj, "base_layer", module.gate_proj).in_features)
    return int(module.weight.shape[-1])


# Low-rank adapters. Hu et al. 2021, arXiv:2106.09685.


def _is_adapted(module: Any) -> bool:
    """A PEFT layer: one plain low-rank adapter, not merged, over a frozen linear layer."""
    base = getattr(module, "base_layer", None)
    active = getattr(module, "active_adapters", ())
    if type(base) is not torch.nn.Linear or len(active) != 1:
        return False
    if any(parameter.requires_grad for parameter in base.parameters()):
        return False
    name = next(iter(active))
    if not hasattr(module, "lora_A") or name not in module.lora_A or module.merged:
        return False
    plain = type(module.lora_A[name]) is type(module.lora_B[name]) is torch.nn.Linear
    dropped = not isinstance(module.lora_dropout[name], torch.nn.Identity)
    variant = getattr(module, "lora_variant", {}).get(name) is not None
    biased = module.lora_A[name].bias is not None or module.lora_B[name].bias is not None
    return plain and not (dropped or variant or biased)


def _adapted(module: Any) -> Callable[..., torch.Tensor]:
    [name] = module.active_adapters
    base, down, up = module.base_layer, module.lora_A[name], module.lora_B[name]
    scale = float(module.scaling[name])

    def forward(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        source = noted(x) if torch.is_grad_enabled() else None
        result: torch.Tensor = _LowRank.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, down.weight, up.weight, scale, source
        )
        return result

    return forward


class _LowRank(torch.autograd.Function):
    """x W' + b + scale (x A') B'; x (..., in), A (rank, in), B (out, rank); W and b are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float,
        source: Remade | None,
    ) -> Any:  # fmt: skip
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        rows = x.reshape(-1, x.shape[-1])
        # Thin factors are laid out alike there and back: oneDNN compiles a program for each layout.
        kept_a, kept_b = a.to(x.dtype), b.to(x.dtype)
        low = rows @ kept_a.t().contiguous()  # (rows, rank)
        y = functional.linear(x, weight, bias)  # no view: callers may change it in place
        y.view(-1, y.shape[-1]).addmm_(low, kept_b.t().contiguous(), alpha=scale)
        ctx.save_for_backward(None if source else rows, weight, kept_a, kept_b, low)
        ctx.scale, ctx.shape, ctx.source = scale, x.shape, source
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, weight, a, b, low = ctx.saved_tensors
        if ctx.source:
            rows = ctx.source.value().reshape(-1, ctx.shape[-1]).to(low.dtype)
        dy = gradients[0].reshape(-1, gradients[0].shape[-1])
        d_low = (dy @ b).mul_(ctx.scale)
        d_a = (d_low.t() @ rows).float()
        d_b = (low.t() @ dy).float().mul_(ctx.scale).t()
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy @ weight).addmm_(d_low, a).view(ctx.shape)
        return dx, None, None, d_a, d_b, None, None


# Root-mean-square norm. Zhang and Sennrich 2019, arXiv:1910.07467.


def _is_norm(module: Any) -> bool:
    named = type(module).__name__.endswith("RMSNorm") and hasattr(module, "weight")
    return named and module.weight is not None and hasattr(module, "variance_epsilon")


def _norm(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        weight = module.weight
        with torch.no_grad():
            scale = x.float().square().mean(-1, keepdim=True).add_(module.variance_epsilon).rsqrt_()
        result: torch.Tensor = _Norm.apply(x, weight, scale)  # type: ignore[no-untyped-call]
        if not weight.requires_grad:  # else it changes
            note(result, _normed, x, weight, scale)
        return result

    return forward


def _normed(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    normed: torch.Tensor = (x.float() * scale).to(x.dtype) * weight
    return normed


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension, in float32 inside; `scale`
    is one by that root."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, scale: Any) -> Any:
        ctx.save_for_backward(x, weight, scale)
        return _normed(x, weight, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        normed = x.float() * scale
        dy = gradients[0].float()
        d_weight = None
        if ctx.needs_input_grad[1]:
            d_weight = (dy * normed).reshape(-1, x.shape[-1]).sum(0).to(weight.dtype)
        dy = dy * weight
        along = (dy * normed).mean(-1, keepdim=True)
        return dy.sub_(normed.mul_(along)).mul_(scale).to(x.dtype), d_weight, None


# Gated feed-forward. Shazeer 2020, arXiv:2002.05202.


def _is_gated(module: Any) -> bool:
    names = ("gate_proj", "up_proj", "down_proj", "act_fn")
    if not all(hasattr(module, name) for name in names):
        return False
    return type(module.act_fn).__name__ in {"SiLU", "SiLUActivation"}


def _gated(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        gate, up = module.gate_proj(x), module.up_proj(x)
        silu = None if is_off() else Remade(functional.silu, gate).read_by_one_more()
        gated = _Gate.apply(gate, up, silu)  # type: ignore[no-untyped-call]
        if silu is not None:
            note(gated, lambda up: silu.ahead() * up, up)
        result: torch.Tensor = module.down_proj(gated)
        return result

    return forward


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
