"""The root-mean-square norm with its gradient derived by hand, some rows at a time.

It is computed in float32, whose copies of a whole pack would leave the cache and be taken from the
system and given back each time. Zhang and Sennrich 2019, arXiv:1910.07467.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sartor.kernels.elementwise import Elementwise, elementwise
from sartor.training.pieces import pieces
from sartor.training.remade import note

NUMBERS = 1 << 17
"""At a time, on a CPU, for each thread: half a megabyte of each copy."""


def normed(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The forward of a module that `is_norm`."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        weight: torch.Tensor = module.weight
        result: torch.Tensor
        alike = weight.shape == x.shape[-1:] and not weight.requires_grad
        if alike and (does := elementwise(x, weight)):
            epsilon = module.variance_epsilon
            result = _InOneGo.apply(x, weight, epsilon, does)  # type: ignore[no-untyped-call]
            note(result, partial(_normed, epsilon=epsilon, does=does), x, weight)
            return result
        with torch.no_grad():
            # The one sum that reads bfloat16 without a copy in float32.
            size = torch.linalg.vector_norm(_narrow(x), dim=-1, keepdim=True, dtype=torch.float32)
            scale = size.square_().div_(x.shape[-1]).add_(module.variance_epsilon).rsqrt_()
        result = _Norm.apply(x, weight, scale)  # type: ignore[no-untyped-call]
        if not weight.requires_grad:  # else it changes
            note(result, _scaled, x, weight, scale)
        return result

    return forward


def _narrow(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.dtype is torch.float64 else x


def _scaled(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    made = torch.empty(x.shape, dtype=torch.promote_types(x.dtype, weight.dtype), device=x.device)
    rows, scales, into = x.flatten(0, -2), scale.flatten(0, -2), made.flatten(0, -2)
    for part in pieces(rows, NUMBERS):
        by_scale = rows[part].to(torch.float32, copy=True).mul_(scales[part])
        torch.mul(by_scale.to(x.dtype), weight, out=into[part])
    return made


def _normed(
    x: torch.Tensor, weight: torch.Tensor, epsilon: float, does: Elementwise
) -> torch.Tensor:
    return does.norm(x, weight, epsilon)[0]


class _InOneGo(torch.autograd.Function):
    """The same where the weight learns nothing, in one go over the rows."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, epsilon: float, does: Elementwise) -> Any:
        y, scale = does.norm(x, weight, epsilon)
        ctx.save_for_backward(x, weight, scale)
        ctx.does = does
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        return ctx.does.norm_back(x, weight, scale, gradients[0]), None, None, None


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension, in float32 inside; `scale`
    is one by that root."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, scale: Any) -> Any:
        ctx.save_for_backward(x, weight, scale)
        return _scaled(x, weight, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        rows, scales, dy, into = (t.flatten(0, -2) for t in (x, scale, gradients[0], dx))
        learned = ctx.needs_input_grad[1]
        d_weight = torch.zeros(x.shape[-1:], device=x.device) if learned else None
        wide = weight.float()
        for part in pieces(rows, NUMBERS):
            by_scale = rows[part].to(torch.float32, copy=True).mul_(scales[part])
            given = dy[part].to(torch.float32, copy=True)
            if d_weight is not None:
                d_weight += (given * by_scale).sum(0)
            given.mul_(wide)
            along = (given * by_scale).sum(-1, keepdim=True).div_(-x.shape[-1])
            into[part] = given.addcmul_(by_scale, along).mul_(scales[part])
        return dx, None if d_weight is None else d_weight.to(weight.dtype), None
