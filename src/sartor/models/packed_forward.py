"""A network run on a row of many prompts or answers, through an attention of our own.

The network's modules see one row; whoever made the row says what sees what. Whether a network gives
in a row what it gives alone is tried on a few tokens before it is believed: architectures differ in
what they hand to their attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from sartor.models.packed_reading import Heads, Reading
from sartor.models.packed_writing import Writing, blocks
from sartor.models.prefix import Prefix
from sartor.models.prefix_tree import leaves

ATTENTION = "sartor_rows"
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
"""Mean difference of the logits, in parts of their mean size, that rounding alone explains."""
CHANGING = ("dynamic", "longrope")
"""Rotary positions that depend on the longest prompt of a row."""
TRIED = ([9, 8, 7, 3, 5, 4, 6, 8, 3, 5, 4], [9, 8, 7, 3, 5, 4, 6, 8, 9, 3], [3, 7, 4])
"""Prompts that a network is tried on: two that begin alike, and another."""
NEXT = (5, 6, 3)
"""What each is made to go on with."""
VERDICT, SHAPES = "_sartor_runs_rows", "_sartor_row_shapes"


def runs_rows(network: Any, virtual: torch.Tensor | Prefix | None = None) -> bool:
    """Whether the network gives in rows what it gives alone (tried once), behind a prefix too."""
    if not hasattr(network, VERDICT):
        setattr(network, VERDICT, _may(network) and _same(network))
    if getattr(network, VERDICT) and isinstance(virtual, Prefix):
        kept = [(k.shape[1], k.shape[3], v.shape[3]) for k, v in virtual.layers]
        return bool(kept == getattr(network, SHAPES))  # some keep another thing than they attend to
    return bool(getattr(network, VERDICT))


def logits(
    network: Any,
    inputs: dict[str, torch.Tensor],
    row: Reading | Writing,
    kept: Sequence[int] | None,
) -> torch.Tensor:
    """Of the places `kept`, or of all: (kept, vocabulary), float32."""
    positions = row.positions
    if not isinstance(positions, torch.Tensor):
        positions = torch.tensor(positions, device=network.device)
    last = 0 if kept is None else torch.tensor(kept, device=network.device)
    with _attention(network):
        output = network(
            **inputs, position_ids=positions[None], use_cache=False, logits_to_keep=last, row=row
        )
    result: torch.Tensor = output.logits[0].float()
    return result


@contextmanager
def _attention(network: Any) -> Iterator[None]:
    """Our attention while the network runs; whoever else uses it finds its own."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attend)
    configs = {id(c): c for c in (network.config, network.config.get_text_config(decoder=True))}
    before = [(config, config._attn_implementation_internal) for config in configs.values()]
    for config, _ in before:
        config._attn_implementation_internal = ATTENTION
    try:
        yield
    finally:
        for config, name in before:
            config._attn_implementation_internal = name


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    row: Reading | Writing | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it: query (1, heads, places, width); (1, places, heads, width)."""
    if row is None:
        raise TypeError("the network hands nothing on to its attention")
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    heads = Heads(scaling, sliding_window, softcap, s_aux)
    return row.attend(module.layer_idx, query[0], key[0], value[0], heads)[None], None


def _may(network: Any) -> bool:
    config = network.config.get_text_config(decoder=True)
    rotary = getattr(config, "rope_parameters", None) or {}
    kinds = {str(value) for name, value in _flat(rotary) if name == "rope_type"}
    return (
        bool(getattr(network, "_supports_attention_backend", False))
        and "chunked_attention" not in (getattr(config, "layer_types", None) or ())
        and not kinds & set(CHANGING)
    )


def _flat(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield name, value


def _same(network: Any) -> bool:
    expected = []
    with torch.inference_mode():
        for prompt, token in zip(TRIED, NEXT, strict=True):
            ids = torch.tensor([[*prompt, token]], device=network.device)
            expected.append(network(input_ids=ids, use_cache=False).logits[0, -2:].float())
        try:
            found = _tried(network)
        except (TypeError, ValueError, RuntimeError, AttributeError, AssertionError, IndexError):
            return False  # it takes no such thing
    alone = torch.stack(expected)  # (prompts, 2, vocabulary)
    tolerance = TOLERANCE.get(str(network.dtype).removeprefix("torch."), 1e-4)
    return bool((found - alone).abs().mean() <= tolerance * alone.abs().mean())


def _tried(network: Any) -> torch.Tensor:
    made = leaves(TRIED)
    reading = Reading(made)
    first = logits(network, {"input_ids": _ids(network, reading.tokens)}, reading, reading.last)
    written = blocks(reading)
    order = [leaf.row for block in written for leaf in block.leaves]
    pairs = zip(written[0].keys, written[0].values, strict=True)
    setattr(network, SHAPES, [(k.shape[1], k.shape[3], v.shape[3]) for k, v in pairs])
    for block in written:
        block.advance()
    writing = Writing(written, [len(TRIED[row]) for row in order], network.device)
    tokens = [NEXT[row] for row in order]
    second = logits(network, {"input_ids": _ids(network, tokens)}, writing, None)
    of_first = {leaf.row: first[i] for i, leaf in enumerate(made)}
    of_second = {row: second[i] for i, row in enumerate(order)}
    return torch.stack([torch.stack([of_first[r], of_second[r]]) for r in range(len(TRIED))])


def _ids(network: Any, tokens: Sequence[int]) -> torch.Tensor:
    return torch.tensor([list(tokens)], device=network.device)
