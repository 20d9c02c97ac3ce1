"""DoRA where a base has rows of zeros, such as those of attention heads that were pruned.

A row's length and direction are trained apart, and a row of zeros has no direction: PEFT divides
by its length. Given one, by chance, it stays at length zero, and so the base as it was, until
training lengthens it. Liu et al. 2024, arXiv:2402.09353, section 4.1.
"""

from __future__ import annotations

from typing import Any


def give_directions(model: Any) -> None:
    """Let every row of zeros in PEFT's adapted layers have a direction."""
    import torch

    for layer in model.modules():
        for name, magnitude in getattr(layer, "lora_magnitude_vector", {}).items():
            second = layer.lora_B[name].weight  # (outputs, rank)
            empty = (magnitude.weight == 0).to(second.device)  # (outputs,)
            if bool(empty.any()):
                drawn = torch.randn(int(empty.sum()), second.shape[1]) / second.shape[1] ** 0.5
                second.data[empty] = drawn.to(second)
