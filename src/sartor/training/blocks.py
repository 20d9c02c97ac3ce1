"""The blocks of a transformer, found by looking at the network."""

from __future__ import annotations

from typing import Any


def blocks(network: Any) -> list[tuple[str, Any]]:
    """The transformer's blocks from the lowest, each with its full name."""
    import torch

    def size(found: tuple[str, Any]) -> int:
        return sum(parameter.numel() for parameter in found[1].parameters())

    lists = [(n, m) for n, m in network.named_modules() if isinstance(m, torch.nn.ModuleList)]
    name, largest = max(lists, key=size)
    return [(f"{name}.{number}", block) for number, block in enumerate(largest)]
