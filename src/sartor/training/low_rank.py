"""Linear layers with a low-rank adapter, their gradients derived by hand.

In float32 the adapter is added to the weight before it is multiplied: that is `rank / rows` of the
work of adding it to what the rows give. In bfloat16 a sum would lose what training has changed.
Hu et al. 2021, arXiv:2106.09685, section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sartor.training.remade import Remade, noted


def is_adapted(module: Any) -> bool:
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


def factors(module: Any) -> tuple[torch.Tensor, torch.Tensor, float]:
    """The adapter's A (rank, in), B (out, rank) and scale; asked for at each call, for where
    weights are sharded they are others then."""
    [name] = module.active_adapters
    return module.lora_A[name].weight, module.lora_B[name].weight, float(module.scaling[name])


def adapted(module: Any) -> Callable[..., torch.Tensor]:
    """The forward of a module that `is_adapted`."""
    base = module.base_layer

    def forward(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        a, b, scale = factors(module)
        source = noted(x) if torch.is_grad_enabled() else None
        result: torch.Tensor = _LowRank.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, a, b, scale, source
        )
        return result

    return forward


class Product:
    """x W' + scale (x A') B' of rows x (rows, in), and its gradients, some rows at a time.

    A (rank, in) and B (out, rank) train, and W (out, in) does not; or W alone is there, and may.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        a: torch.Tensor | None,
        b: torch.Tensor | None,
        scale: float,
        dtype: torch.dtype,
        trains: bool = False,
    ) -> None:
        self._scale = scale
        self._weight = weight.to(dtype)
        self.d_weight = torch.zeros_like(weight) if trains else None
        self.d_a: torch.Tensor | None = None
        self._d_b: torch.Tensor | None = None
        self._a = self._b = None
        self._added = False
        if a is not None and b is not None:
            self._a, self._b = a.to(dtype), b.to(dtype)
            self._added = dtype == weight.dtype == a.dtype == b.dtype == torch.float32
            if self._added:
                self._weight = torch.addmm(weight, b, a, alpha=scale)
            self.d_a, self._d_b = torch.zeros_like(a), b.new_zeros(b.shape[1], b.shape[0])

    @property
    def is_apart(self) -> bool:
        """Whether rows go through the adapter by themselves."""
        return self._a is not None and not self._added

    @property
    def d_b(self) -> torch.Tensor | None:
        return None if self._d_b is None else self._d_b.t()

    def low(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows by A: (rows, rank)."""
        assert self._a is not None
        # Thin factors are laid out alike there and back: oneDNN compiles a program for each layout.
        return rows @ self._a.t().contiguous()

    def put(self, rows: torch.Tensor, low: torch.Tensor | None, into: torch.Tensor) -> torch.Tensor:
        """The product, written `into` a tensor; `low` where the adapter is apart."""
        torch.mm(rows, self._weight.t(), out=into)
        if low is not None:
            assert self._b is not None
            into.addmm_(low, self._b.t().contiguous(), alpha=self._scale)
        return into

    def learn(self, rows: torch.Tensor, low: torch.Tensor | None, dy: torch.Tensor) -> Any:
        """Add to the gradients of what trains; returns that of `low`, None without an adapter."""
        if self.d_weight is not None:
            _add_product(self.d_weight, dy.t(), rows)
        if self._a is None or self._b is None or self.d_a is None or self._d_b is None:
            return None
        d_low = (dy @ self._b).mul_(self._scale)
        low = self.low(rows) if low is None else low
        self.d_a.add_(d_low.t() @ rows)
        self._d_b.add_(low.t() @ dy, alpha=self._scale)
        return d_low

    def back(self, dy: torch.Tensor, d_low: torch.Tensor | None, into: torch.Tensor) -> None:
        """Write the gradient of the rows `into` a tensor."""
        torch.mm(dy, self._weight, out=into)
        self._back_low(d_low, into)

    def add_back(self, dy: torch.Tensor, d_low: torch.Tensor | None, to: torch.Tensor) -> None:
        """Add the gradient of the rows `to` a tensor."""
        to.addmm_(dy, self._weight)
        self._back_low(d_low, to)

    def _back_low(self, d_low: torch.Tensor | None, into: torch.Tensor) -> None:
        if d_low is not None and self._a is not None and not self._added:
            into.addmm_(d_low, self._a)


def _add_product(to: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> None:
    if to.dtype == one.dtype:
        to.addmm_(one, other)
    else:
        to.add_(one @ other)


class _LowRank(torch.autograd.Function):
    """x W' + b + scale (x A') B'; x (..., in); W and b are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float,
        source: Remade | None,
    ) -> Any:  # fmt: skip
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        rows = x.flatten(0, -2)
        product = Product(weight, a, b, scale, x.dtype)
        low = product.low(rows) if product.is_apart else None
        y = x.new_empty(*x.shape[:-1], len(weight))  # no view: callers may change it in place
        product.put(rows, low, y.view(len(rows), len(weight)))
        if bias is not None:
            y.add_(bias)
        ctx.save_for_backward(None if source else rows, weight, a, b, low)
        ctx.scale, ctx.shape, ctx.source, ctx.dtype = scale, x.shape, source, x.dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, weight, a, b, low = ctx.saved_tensors
        if ctx.source:
            rows = ctx.source.value().flatten(0, -2).to(ctx.dtype)
        dy = gradients[0].flatten(0, -2)
        product = Product(weight, a, b, ctx.scale, ctx.dtype)
        d_low = product.learn(rows, low, dy)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy.new_empty(ctx.shape)
            product.back(dy, d_low, dx.view(len(dy), ctx.shape[-1]))
        return dx, None, None, product.d_a, product.d_b, None, None
