"""Linear layers, plain or with a low-rank adapter, their gradients derived by hand.

In float32 the adapter is added to the weight before it is multiplied: that is `rank / rows` of the
work of adding it to what the rows give. In bfloat16 a sum would lose what training has changed.
Hu et al. 2021, arXiv:2106.09685, section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.kernels.products import Pair, product, summed
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


def is_linear(module: Any) -> bool:
    """A plain linear layer on a CPU that nobody watches."""
    if type(module) is not torch.nn.Linear or module.weight.device.type != "cpu":
        return False
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def factors(module: Any) -> tuple[torch.Tensor, torch.Tensor, float]:
    """The adapter's A (rank, in), B (out, rank) and scale; asked for at each call, for where
    weights are sharded they are others then."""
    [name] = module.active_adapters
    return module.lora_A[name].weight, module.lora_B[name].weight, float(module.scaling[name])


class Sums:
    """Room for weights with their adapters added, which one layer after another writes over.

    A layer's own would be taken from the system and given back a dozen times a pack, as many bytes
    as all weights together.
    """

    def __init__(self) -> None:
        self._rooms: dict[Any, torch.Tensor] = {}

    def room(self, place: int, weight: torch.Tensor) -> torch.Tensor:
        """As large as the weight, the calling thread's own; `place` tells those apart that are
        needed at once."""
        key = (get_ident(), place, weight.shape, weight.dtype, weight.device)
        if key not in self._rooms:
            self._rooms[key] = torch.empty_like(weight, requires_grad=False)
        return self._rooms[key]


def adapted(module: Any, sums: Sums) -> Callable[..., torch.Tensor]:
    """The forward of a module that `is_adapted`."""
    return lambda x, *_, **__: _put_through(x, module.base_layer, factors(module), sums)


def linear(module: Any, sums: Sums) -> Callable[[torch.Tensor], torch.Tensor]:
    """The forward of a module that `is_linear`; its own where the bias learns, or numbers that do
    not go together are to be refused."""

    def forward(input: torch.Tensor) -> torch.Tensor:
        weight, bias = module.weight, module.bias
        learns = bias is not None and bias.requires_grad
        mixed = input.dtype != weight.dtype and not torch.is_autocast_enabled(input.device.type)
        if learns or mixed or input.dim() < 2:
            return functional.linear(input, weight, bias)
        return _put_through(input, module, (None, None, 1.0), sums)

    return forward


def _put_through(x: torch.Tensor, base: Any, adapter: Any, sums: Sums) -> torch.Tensor:
    """What a linear layer makes of x, with `adapter` as `factors` gives it, or Nones."""
    learns = adapter[0] is not None or base.weight.requires_grad
    source = noted(x) if learns and torch.is_grad_enabled() else None
    result: torch.Tensor = _LowRank.apply(  # type: ignore[no-untyped-call]
        x, base.weight, base.bias, *adapter, source, sums
    )
    return result


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
        sums: Sums,
        *,
        place: int = 0,
        trains: bool = False,
    ) -> None:
        self._scale, self._trains = scale, trains
        self._weight, self._kind = weight.to(dtype), weight.dtype
        self._a = self._b = None
        self._is_apart = False
        self.d_weight: torch.Tensor | None = None
        self.d_a: torch.Tensor | None = None
        self._d_b: torch.Tensor | None = None
        if a is not None and b is not None:
            self._a, self._b, self._kind = a.to(dtype), (b * scale).to(dtype), a.dtype
            self._is_apart = not dtype == weight.dtype == a.dtype == b.dtype == torch.float32
            if not self._is_apart:
                room = sums.room(place, weight)
                self._weight = torch.addmm(weight, b, a, alpha=scale, out=room)

    @property
    def d_b(self) -> torch.Tensor | None:
        return None if self._d_b is None else self._d_b.t() * self._scale

    def put(self, rows: torch.Tensor, into: torch.Tensor) -> torch.Tensor | None:
        """Write the product `into` a tensor; returns the rows by A where that was needed."""
        pairs, low = [(rows, self._weight.t())], None
        if self._is_apart and self._a is not None and self._b is not None:
            low = product(rows, self._a.t())
            pairs.append((low, self._b.t()))
        summed(pairs, into)
        return low

    def learn(
        self, rows: torch.Tensor, low: torch.Tensor | None, dy: torch.Tensor
    ) -> torch.Tensor | None:
        """Add to the gradients of what trains; returns that of the rows by A, None without it."""
        if self._trains:
            self.d_weight = _with_product(self.d_weight, dy.t(), rows, self._kind)
        if self._a is None or self._b is None:
            return None
        d_low = product(dy, self._b)
        low = product(rows, self._a.t()) if low is None else low
        self.d_a = _with_product(self.d_a, d_low.t(), rows, self._kind)
        self._d_b = _with_product(self._d_b, low.t(), dy, self._kind)
        return d_low

    def back(self, dy: torch.Tensor, d_low: torch.Tensor | None) -> list[Pair]:
        """Pairs whose products add up to the gradient of the rows."""
        if self._is_apart and d_low is not None and self._a is not None:
            return [(dy, self._weight), (d_low, self._a)]
        return [(dy, self._weight)]


def _with_product(
    total: torch.Tensor | None, one: torch.Tensor, other: torch.Tensor, kind: torch.dtype
) -> torch.Tensor:
    """A sum of products, in that kind of number, with one more."""
    made = one.new_empty(len(one), other.shape[1], dtype=kind) if total is None else total
    summed([(one, other)], made, add=total is not None)
    return made


class _LowRank(torch.autograd.Function):
    """x W' + b + scale (x A') B'; x (..., in); b is frozen, W too where there are A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float,
        source: Remade | None, sums: Sums,
    ) -> Any:  # fmt: skip
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        rows = x.flatten(0, -2)
        made = Product(weight, a, b, scale, x.dtype, sums)
        y = x.new_empty(*x.shape[:-1], len(weight))  # no view: callers may change it in place
        low = made.put(rows, y.view(len(rows), len(weight)))
        if bias is not None:
            y.add_(bias)
        learns = a is not None or ctx.needs_input_grad[1]
        ctx.save_for_backward(rows if learns and not source else None, weight, a, b, low)
        ctx.source = source if learns else None
        ctx.scale, ctx.shape, ctx.dtype, ctx.sums = scale, x.shape, x.dtype, sums
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, weight, a, b, low = ctx.saved_tensors
        if ctx.source:
            rows = ctx.source.value().flatten(0, -2).to(ctx.dtype)
        dy = gradients[0].flatten(0, -2)
        trains = ctx.needs_input_grad[1]
        made = Product(weight, a, b, ctx.scale, ctx.dtype, ctx.sums, trains=trains)
        d_low = made.learn(rows, low, dy)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy.new_empty(ctx.shape)
            summed(made.back(dy, d_low), dx.view(len(dy), ctx.shape[-1]))
        return dx, made.d_weight, None, made.d_a, made.d_b, None, None, None
