"""Kernels of others are tried before they are believed."""

from __future__ import annotations

from collections.abc import Callable

import torch


def failure(device: torch.device, differs: Callable[[], str]) -> str:
    """Why what is tried on a device must not be used: what `differs` says, or what it ended with;
    nothing where all is right.

    Autograd works there as by itself, also in the midst of a step: autocast, and what checkpointing
    does with tensors that are saved, stay outside. Memory that runs out is raised: the step is too
    large, no kernel wrong.
    """
    saved = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    try:
        with torch.autocast(device.type, enabled=False), torch.enable_grad(), saved:
            return differs()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # what goes wrong where kernels are compiled has many names
        return f"{type(error).__name__}: {error}".splitlines()[0]
