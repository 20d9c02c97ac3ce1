"""Activation checkpointing: a block keeps what goes into it, and is run again on the way back.

A third more work for a fraction of the memory: of every block, its input is all that is kept. With
`offload` that is kept in the machine's memory instead of the GPU's. Chen et al. 2016,
arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
        begun = _states((*given, *named.values()))

        def run(*given: Any, **named: Any) -> Any:
            for layer, state in begun:  # else a cache would have the block's own keys twice
                vars(layer).update(state)
            with keeping_nothing(), scoring_again(places):
                return forward(*given, **named)

        pinned = torch.cuda.is_available()
        with save_on_cpu(pin_memory=pinned) if offload else nullcontext():
            return checkpoint(run, *given, use_reentrant=False, **named)

    return checkpointed


def _states(given: Iterable[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """What a cache among these holds, by layer: the prefix of networks that run no packs."""
    from transformers import Cache

    caches = [cache for cache in given if isinstance(cache, Cache)]
    return [(layer, dict(vars(layer))) for cache in caches for layer in cache.layers]
