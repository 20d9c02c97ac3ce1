"""A network's linear layers by oneDNN's products, or ours, where these are faster than PyTorch's.

PyTorch multiplies float32 by MKL. Measured on one thread of an AMD EPYC with AVX-512, oneDNN is 1.1
times as fast on 1,024 rows, and 1.0 to 1.5 times on 16. With weights laid out anew for it, which is
a copy of them, it is 1.2 to 2.4 times as fast on few rows, and 1.1 to 1.5 times in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch

from sartor.kernels import products

PACKED_BYTES = 512 * 1024**2
"""Weights that are laid out anew, at most: they are then in memory twice."""
MANY = 64
"""Rows from which our own products are as fast in bfloat16, which need no program for each number
of them (sartor/kernels/products.h)."""
ROWS = 1024
"""Rows that weights are laid out for; as good for few."""


class Products:
    """The products of one network, for as long as its weights stay."""

    def __init__(self, network: Any) -> None:
        self._weights: dict[Any, torch.Tensor] = {}
        """By layer: as it is, or laid out anew."""
        self._packed = False
        if numbers := _numbers():
            layers = [part for part in network.modules() if _is_plain(part, numbers)]
            self._weights = {layer: layer.weight for layer in layers}

    @property
    def nbytes(self) -> int:
        """Of the weights, which laying them out anew takes once more."""
        return sum(weight.nbytes for weight in self._weights.values())

    def pack(self) -> None:
        """Lay the weights out anew, if they are few enough."""
        if self._packed:
            return
        self._packed = True
        if self.nbytes <= PACKED_BYTES:
            lay_out = torch.ops.mkldnn._reorder_linear_weight
            self._weights = {layer: lay_out(w.detach(), ROWS) for layer, w in self._weights.items()}

    def __call__(self, layer: Any, rows: torch.Tensor) -> torch.Tensor:
        """What `layer` makes of rows (..., inputs): (..., outputs)."""
        weight = self._weights.get(layer)
        made: torch.Tensor
        if weight is None:
            made = layer(rows)
        elif rows[..., 0].numel() >= MANY and products.fits(rows, layer.weight):
            made = products.product(rows.flatten(0, -2), layer.weight.t())
            made = made if layer.bias is None else made.add_(layer.bias)
            made = made.view(*rows.shape[:-1], len(layer.weight))
        else:
            made = torch.ops.mkldnn._linear_pointwise(rows, weight, layer.bias, "none", [], None)
        return made


def _numbers() -> tuple[torch.dtype, ...]:
    """Those that oneDNN multiplies here: bfloat16 takes AVX-512, or AVX2 with conversions to it."""
    backend: Any = torch.backends.mkldnn
    is_there = (
        bool(backend.is_available())
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
    if not is_there:
        return ()
    halves = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if halves else (torch.float32,)


def _is_plain(part: Any, numbers: tuple[torch.dtype, ...]) -> bool:
    """A linear layer of PyTorch's own that nobody looks into."""
    return (
        type(part) is torch.nn.Linear
        and part.weight.device.type == "cpu"
        and part.weight.dtype in numbers
        and not part._forward_hooks
        and not part._forward_pre_hooks
        and "forward" not in vars(part)
    )
