"""All that makes training fast or small, switched on in one place; off, it is transformers' own.

Each is tried on a few tokens before it is believed, and changes no result beyond rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.models.prefix import Prefix
from sartor.training.packed_attention import BEGINNING, TRIED, use_packed_attention
from sartor.training.settings import TrainingSettings

if TYPE_CHECKING:
    import torch

    from sartor.training.lower import Lower


def use_tricks(network: Any, options: TrainingSettings, prefix: Prefix | None = None) -> None:
    """Make the network ready to train as the settings say; `prefix` stands before every example."""
    from sartor.models import local
    from sartor.training.answers_only import use_answers_only
    from sartor.training.checkpointing import use_checkpointing
    from sartor.training.fused import use_fused
    from sartor.training.lean_blocks import use_lean_blocks

    if not options.plain:
        packed = use_packed_attention(network, prefix)
        use_fused(network)
        moves = options.sharding != "none" and local.device().type != "cpu"  # once it is divided
        if packed and prefix is None and (moves or not use_lean_blocks(network)):
            use_answers_only(network, BEGINNING + TRIED[1])
    if options.checkpointing in {"on", "offload"}:
        use_checkpointing(network, offload=options.checkpointing == "offload")


def keep_lower(
    network: Any, options: TrainingSettings, trained: Sequence[torch.nn.Parameter], directory: Path
) -> Lower | None:
    """Keep what frozen lower blocks give, where only upper ones train and nothing forbids it."""
    from sartor.training.lower import use_lower_cache

    return None if options.plain else use_lower_cache(network, trained, directory)
