"""Gated feed-forward layers as one function, some rows at a time.

What stands between its three products is as wide as they are and cheap to compute: in float32, of
some hundred rows it is still at hand when the next step reads it, of a whole pack it is not. And of
the gradients of gate and up no more than those rows are ever held. Shazeer 2020, arXiv:2002.05202.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.kernels.elementwise import elementwise
from sartor.kernels.products import summed
from sartor.models.lean_forward import SILU
from sartor.training.low_rank import Product, Sums, factors, is_adapted
from sartor.training.remade import Remade, noted

ROWS, ROWS_OF_HALF = 512, 2048
"""At a time, on a CPU: fewer make products slow, more leave the cache. In two bytes a number oneDNN
lays out the weight anew for each product, so it is asked for fewer (Zen 4, widths 256 and 768)."""
NAMES = ("gate_proj", "up_proj", "down_proj")


def is_gated(module: Any) -> bool:
    """silu(gate(x)) * up(x), put through a third layer; under the names that Llama gave them."""
    parts = [getattr(module, name, None) for name in (*NAMES, "act_fn")]
    if not all(isinstance(part, torch.nn.Module) for part in parts):  # some hold bare tensors
        return False
    return type(module.act_fn).__name__ in SILU


def is_known(module: Any) -> bool:
    """Gated, of linear layers, plain or with a low-rank adapter, that nobody watches."""
    return is_gated(module) and all(_is_known(getattr(module, name)) for name in NAMES)


def _is_known(layer: Any) -> bool:
    if layer._forward_hooks or layer._forward_pre_hooks:
        return False
    base = layer.base_layer if is_adapted(layer) else layer
    return type(base) is torch.nn.Linear and base.bias is None


def fed_forward(module: Any, sums: Sums) -> Callable[[torch.Tensor], torch.Tensor]:
    """The forward of a module that `is_known`."""
    layers = [getattr(module, name) for name in NAMES]
    has_adapter = [is_adapted(layer) for layer in layers]

    def forward(x: torch.Tensor) -> torch.Tensor:
        weights = [getattr(layer, "base_layer", layer).weight for layer in layers]
        adapters = [
            factors(layer) if has else (None, None, 1.0)
            for layer, has in zip(layers, has_adapter, strict=True)
        ]
        scales = [scale for _, _, scale in adapters]
        trained = [factor for a, b, _ in adapters for factor in (a, b)]
        source = noted(x) if torch.is_grad_enabled() else None
        result: torch.Tensor = _FeedForward.apply(  # type: ignore[no-untyped-call]
            x, source, sums, scales, *weights, *trained
        )
        return result

    return forward


class _FeedForward(torch.autograd.Function):
    """x (..., width); the weights of gate, up and down; A and B of each, or None."""

    @staticmethod
    def forward(
        ctx: Any, x: Any, source: Remade | None, sums: Sums, scales: Any, *tensors: Any
    ) -> Any:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        rows = x.flatten(0, -2)
        products = _products(tensors, scales, x.dtype, sums)
        to_gate, to_up, to_down = products
        gate = x.new_empty(len(rows), len(tensors[0]))
        up = torch.empty_like(gate)
        y = x.new_empty(*x.shape[:-1], len(tensors[2]))
        flat = y.view(len(rows), len(tensors[2]))
        # A gradient as large as a weight, in other numbers than its product's, is added to once.
        whole = any(ctx.needs_input_grad[4:7]) and tensors[0].dtype != x.dtype
        low = []
        for part in _parts(rows, whole):
            by_gate, by_up = to_gate.put(rows[part], gate[part]), to_up.put(rows[part], up[part])
            gated = _gated(gate[part], up[part])
            low.append((by_gate, by_up, to_down.put(gated, flat[part])))
        joined = [None if one[0] is None else torch.cat(one) for one in zip(*low, strict=True)]
        ctx.save_for_backward(None if source else rows, gate, up, *joined, *tensors)
        ctx.source, ctx.scales, ctx.shape = source, scales, x.shape
        ctx.sums, ctx.whole = sums, whole
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, gate, up, *others = ctx.saved_tensors
        joined, tensors = others[:3], others[3:]
        if ctx.source:
            rows = ctx.source.value().flatten(0, -2).to(gate.dtype)
        dy = gradients[0].flatten(0, -2)
        trains = ctx.needs_input_grad[4:7]
        products = _products(tensors, ctx.scales, gate.dtype, ctx.sums, trains)
        dx = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        for part in _parts(rows, ctx.whole):
            low = [None if one is None else one[part] for one in joined]
            d_gate, d_up = _back_through_gate(products[2], gate[part], up[part], low[2], dy[part])
            into = None if dx is None else dx[part]
            _back(products, rows[part], (d_gate, d_up), low, into)
        weights = [product.d_weight for product in products]
        factors = [gradient for product in products for gradient in (product.d_a, product.d_b)]
        return None if dx is None else dx.view(ctx.shape), None, None, None, *weights, *factors


def _products(
    tensors: Any, scales: Any, dtype: torch.dtype, sums: Sums, trains: Any = (False,) * 3
) -> list[Product]:
    weights, trained = tensors[:3], tensors[3:]
    pairs = zip(trained[::2], trained[1::2], strict=True)
    each = enumerate(zip(weights, pairs, scales, trains, strict=True))
    return [
        Product(weight, a, b, scale, dtype, sums, place=place, trains=trained_itself)
        for place, (weight, (a, b), scale, trained_itself) in each
    ]


def _parts(rows: torch.Tensor, whole: bool = False) -> list[slice]:
    """Some rows at a time; the last ones with those before them where they are few."""
    if whole or rows.device.type != "cpu":
        return [slice(len(rows))]
    step = ROWS if rows.dtype.itemsize > 2 else ROWS_OF_HALF
    full = max(0, len(rows) - step // 2) // step
    return [slice(*ends) for ends in pairwise([*range(0, full * step + 1, step), len(rows)])]


def _gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    does = elementwise(gate, up)
    return does.gated(gate, up) if does else functional.silu(gate).mul_(up)


def _back_through_gate(
    to_down: Product, gate: torch.Tensor, up: torch.Tensor, low: Any, dy: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of gate and up, of that of what was put out; `to_down` learns."""
    if does := elementwise(gate, up):
        gated, d_gated = does.gated(gate, up), torch.empty_like(gate)
        d_low = to_down.learn(gated, low, dy)
        summed(to_down.back(dy, d_low), d_gated)
        return does.gated_back(gate, up, d_gated, room=gated)
    silu = functional.silu(gate)
    gated = silu * up
    d_low = to_down.learn(gated, low, dy)
    summed(to_down.back(dy, d_low), gated)
    d_up = silu.mul_(gated)
    d_gate = torch.ops.aten.silu_backward(gated.mul_(up), gate)
    return d_gate, d_up


def _back(
    products: Any, rows: torch.Tensor, gradients: Any, low: Any, into: torch.Tensor | None
) -> None:
    """Gate and up learn; the gradient of the rows is written `into` a tensor."""
    (to_gate, to_up, _), (d_gate, d_up) = products, gradients
    by_gate = to_gate.learn(rows, low[0], d_gate)
    by_up = to_up.learn(rows, low[1], d_up)
    if into is not None:
        summed([*to_gate.back(d_gate, by_gate), *to_up.back(d_up, by_up)], into)
