"""Whether anything is dropped by chance in training, which what is derived by hand does not do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def drops(modules: Iterable[Any]) -> bool:
    """Whether one of these does so itself: a dropout, or a module that holds how much it drops."""
    import torch

    return any(
        (isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.p > 0)
        or any(
            "drop" in name and type(p) in (int, float) and p > 0 for name, p in vars(module).items()
        )
        for module in modules
    )
