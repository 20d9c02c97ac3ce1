"""AdamW over what is trained, its clipped gradients, and the learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sartor.training.trainable import Trainable

if TYPE_CHECKING:
    import torch

WARMUP = 0.06
"""Part of the steps over which the learning rate rises."""
LONGEST_GRADIENT = 1.0
"""Norm that longer gradients are cut to."""


def adamw(trainable: Trainable, weight_decay: float, *, on_host: bool = False) -> torch.optim.AdamW:
    """An optimizer whose groups hold, as `times`, their part of the learning rate; `on_host` keeps
    its state in the machine's memory."""
    import torch

    from sartor.training.host_optimizer import HostAdamW

    by_rate: dict[float, list[Any]] = {}
    for name, parameter in trainable.parameters.items():
        by_rate.setdefault(trainable.rates.get(name, 1.0), []).append(parameter)
    kind = HostAdamW if on_host else torch.optim.AdamW
    return kind(
        [{"params": group, "times": times} for times, group in by_rate.items()],
        lr=0.0,
        betas=(0.9, 0.98),
        weight_decay=weight_decay,
        fused=True,
    )


def clip(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """Cut all gradients to a norm of `LONGEST_GRADIENT` together; the norm they had."""
    import torch

    norm: Any = torch.nn.utils.clip_grad_norm_(parameters, LONGEST_GRADIENT)
    if hasattr(norm, "full_tensor"):  # of values that are divided among processes
        norm = norm.full_tensor()
    found: torch.Tensor = norm
    return found


def schedule(step: int, steps: int) -> float:
    """Linear warm-up, then a half cosine down to a twentieth."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2
