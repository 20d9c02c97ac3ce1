"""Norms and gates on a GPU by Liger's Triton kernels, where the extra `liger` is installed: what
calls.py has for a CPU. Hsu et al. 2024, arXiv:2410.10989.

They are tried before they are believed, as what is compiled for a CPU is.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import torch

from sartor.kernels.trial import failure
from sartor.progress import say

KINDS = (torch.float32, torch.bfloat16, torch.float16)
CASTING = "llama"
"""A norm's root is taken in float32, the normed number rounded before it is multiplied."""
BY_ROW = True
"""One kernel for any number of rows, the one that was tried."""
TRIED = (5, 1 << 14)
"""Rows and width of what the kernels are tried on; some GPUs have another for gates so wide."""
WIDEST = 1 << 16
"""Numbers of a row."""
TOLERANCE = 2e-2
"""Length of the difference from torch's operations in float32, in parts of theirs."""


def fits(*tensors: torch.Tensor) -> bool:
    """Whether the kernels are here and take these: on a GPU, of one kind of number."""
    first = tensors[0]
    if first.device.type != "cuda" or first.dtype not in KINDS:
        return False
    plain = (torch.Tensor, torch.nn.Parameter)
    alike = all(
        t.device == first.device and t.dtype is first.dtype and type(t) in plain for t in tensors
    )
    return alike and first.shape[-1] <= WIDEST and works(first.device, first.dtype)


def norm(
    x: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x (..., width) normed, and by what each row was multiplied: (rows,) in float32."""
    from liger_kernel.ops.rms_norm import rms_norm_forward

    y, _, scale, *_ = rms_norm_forward(x.contiguous(), weight, epsilon, 0.0, CASTING, BY_ROW)
    return y, scale


def norm_back(
    x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, dy: torch.Tensor
) -> torch.Tensor:
    """The gradient of x."""
    from liger_kernel.ops.rms_norm import _str_to_casting_mode, rms_norm_backward
    from liger_kernel.ops.utils import calculate_settings

    size, warps = calculate_settings(x.shape[-1])
    rows = x.contiguous().view(-1, x.shape[-1])
    dx: torch.Tensor = rms_norm_backward(
        dy.contiguous(), rows, weight, scale, 0.0, _str_to_casting_mode[CASTING], size, warps,
        False, BY_ROW, needs_dw=False,
    )[0]  # fmt: skip
    return dx


def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up."""
    from liger_kernel.ops.swiglu import swiglu_forward

    made: torch.Tensor = swiglu_forward(gate.contiguous(), up.contiguous())[-1]
    return made


def gated_back(
    gate: torch.Tensor, up: torch.Tensor, dy: torch.Tensor, room: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of gate and up, written over them, which autograd does not notice: there is no
    second way back. No `room` is needed."""
    from liger_kernel.ops.swiglu import swiglu_backward

    d_gate, d_up = swiglu_backward(gate.contiguous(), up.contiguous(), dy.contiguous())
    return d_gate, d_up


@cache
def works(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether Liger is installed, and its kernels give here what torch's operations give; where
    they do not, that is said."""
    if importlib.util.find_spec("liger_kernel") is None:
        return False
    reason = failure(device, lambda: _differs(device, dtype))
    if reason:
        say(f"Liger's kernels are not used here ({reason}): all goes on without them")
    return not reason


def _differs(device: torch.device, dtype: torch.dtype) -> str:
    """What is wrong with what the kernels give of random numbers; nothing where all is right."""
    generator = torch.Generator().manual_seed(0)
    gate, up, dy = (torch.randn(TRIED, generator=generator).to(device, dtype) for _ in range(3))
    weight = 1 + up[0] / 4
    y, scale = norm(gate, weight, 1e-5)
    found = {"norm": (y, norm_back(gate, weight, scale, dy)), "gate": (gated(gate, up),)}
    found["gate"] += gated_back(gate.clone(), up.clone(), dy, dy)
    for name, expected in _plain(gate, up, weight, dy).items():
        for one, other in zip(found[name], expected, strict=True):
            if not (one.float() - other).norm() <= TOLERANCE * other.norm():
                return f"its {name} is another"
    return ""


def _plain(
    gate: torch.Tensor, up: torch.Tensor, weight: torch.Tensor, dy: torch.Tensor
) -> dict[str, tuple[torch.Tensor, ...]]:
    """The same by torch's operations, with autograd's gradients."""
    x, other, by = (t.detach().float().requires_grad_() for t in (gate, up, weight))
    y = torch.nn.functional.rms_norm(x, x.shape[-1:], by, 1e-5)
    [dx] = torch.autograd.grad(y, x, dy.float())
    made = torch.nn.functional.silu(x) * other
    gradients = torch.autograd.grad(made, (x, other), dy.float())
    return {"norm": (y.detach(), dx), "gate": (made.detach(), *gradients)}
