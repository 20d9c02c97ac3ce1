"""Activation checkpointing: a block keeps what goes into it, and is run again on the way back.

A third more work for a fraction of the memory: of every block, its input is all that is kept. With
`offload` that is kept in the machine's memory instead of the GPU's. Chen et al. 2016,
arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from sartor.training.answers_only import scored_places, scoring_again
from sartor.training.blocks import blocks
from sartor.training.remade import keeping_nothing

USED = "_sartor_checkpointed"


def use_checkpointing(network: Any, *, offload: bool = False) -> int:
    """Have every block run again on the way back; how many blocks there are."""
    found = blocks(network)
    for _, block in found:
        if not getattr(block, USED, False):
            block.forward = _again(block.forward, offload)
            setattr(block, USED, True)
    return len(found)


def _again(forward: Callable[..., Any], offload: bool) -> Callable[..., Any]:
    def checkpointed(*given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*given, **named)
        places = scored_places()

        def run(*given: Any, **named: Any) -> Any:
            with keeping_nothing(), scoring_again(places):
                return forward(*given, **named)

        pinned = torch.cuda.is_available()
        with save_on_cpu(pin_memory=pinned) if offload else nullcontext():
            return checkpoint(run, *given, use_reentrant=False, **named)

    return checkpointed
