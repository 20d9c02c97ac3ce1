"""Whether a network tells its attention all that its masks would hide.

An attention of our own gets no masks: how far back a layer sees, it is told beside them. Some
architectures put a window into a mask alone, or change masks on their way, and on the few tokens
that a network is tried on nothing of that shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NOTING = "sartor_noting"
TRIED = (5, 3, 4)
UNFIT = (TypeError, ValueError, RuntimeError, AttributeError, AssertionError, IndexError)
"""What a network raises when it is run in a way that it takes no part in."""


@contextmanager
def attending(network: Any, name: str, attend: Callable[..., Any]) -> Iterator[None]:
    """An attention of our own while the network runs; whoever else uses it finds its own."""
    from transformers import AttentionInterface

    AttentionInterface.register(name, attend)
    configs = {id(c): c for c in (network.config, network.config.get_text_config(decoder=True))}
    before = [(config, config._attn_implementation_internal) for config in configs.values()]
    for config, _ in before:
        config._attn_implementation_internal = name
    try:
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation


def takes_ours(network: Any) -> bool:
    """Whether it calls an attention by name, and none that works in chunks of its own."""
    config = network.config.get_text_config(decoder=True)
    chunked = "chunked_attention" in (getattr(config, "layer_types", None) or ())
    return bool(getattr(network, "_supports_attention_backend", False)) and not chunked


def tells_all(network: Any) -> bool:
    """Whether every window of its masks is told to a layer, and masks come as they were made."""
    import torch
    from transformers import AttentionMaskInterface

    made: set[int | None] = {None}
    told: set[int | None] = {None}
    changed: list[bool] = []

    def mask(q_length: int, kv_length: int, local_size: int | None = None, **_: Any) -> Any:
        made.add(local_size)
        return torch.ones(1, 1, q_length, kv_length, dtype=torch.bool, device=network.device)

    def noted(
        _: Any, query: torch.Tensor, __: Any, value: torch.Tensor, given: Any, **beside: Any
    ) -> tuple[torch.Tensor, None]:
        told.add(beside.get("sliding_window"))
        changed.append(given is not None and _hides(given))
        each = value.repeat_interleave(query.shape[1] // value.shape[1], 1)
        return each.transpose(1, 2), None  # (1, tokens, heads, width)

    AttentionMaskInterface.register(NOTING, mask)
    try:
        with attending(network, NOTING, noted), torch.no_grad():
            network(input_ids=torch.tensor([TRIED], device=network.device), use_cache=False)
    except UNFIT:
        return False
    finally:
        AttentionMaskInterface._global_mapping.pop(NOTING, None)
    return made <= told and not any(changed)


def _hides(mask: torch.Tensor) -> bool:
    import torch

    return not bool(mask.all()) if mask.dtype == torch.bool else bool(mask.any())
