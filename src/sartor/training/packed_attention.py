"""Whether a model runs packs: it is switched to span_attention.py, and tried before it is believed.

What it gives in a pack must be what it gives alone, on a few tokens: architectures differ in what
they hand to their attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.models.generation import must_go_alone
from sartor.models.in_float32 import as_near, runs_itself, tried
from sartor.models.prefix import Prefix
from sartor.models.told import UNFIT, takes_ours, tells_all
from sartor.progress import say
from sartor.training.padded import ALONE
from sartor.training.sharing import Row, Span
from sartor.training.span_attention import attend

if TYPE_CHECKING:
    import torch

ATTENTION = "sartor_packed"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a layer asks of its attention."""

    scaling: float
    window: int | None
    softcap: float | None
    others: bool
    """Whether it hands on anything else that changes what attention gives."""


def is_packed(network: Any) -> bool:
    """Whether the model runs packs."""
    return bool(network.config._attn_implementation == ATTENTION)


def use_packed_attention(network: Any, prefix: Prefix | None = None) -> bool:
    """Switch the model to packs, where what it gives stays the same, behind the `prefix` too where
    there is one; says whether it was done."""
    if is_packed(network):
        return True
    if takes_ours(network) and not must_go_alone(network):
        before = network.config._attn_implementation
        if tried(network, lambda: _switched(network, prefix)):
            if runs_itself(network, lambda: _packed(network, prefix)):
                return True
            network.set_attn_implementation(before)
        kind = type(network).__name__
        say(f"a {kind} does not run packs of examples; it trains on padded batches")
    setattr(network, ALONE, _sees_padding(network))
    return False


def _switched(network: Any, prefix: Prefix | None) -> bool:
    import torch
    from transformers import AttentionInterface

    from sartor.training.head import use_plain_head

    before = network.config._attn_implementation
    alone = _alone(network, prefix)
    AttentionInterface.register(ATTENTION, attend)
    network.set_attn_implementation(ATTENTION)
    fits = False
    try:
        fits = tells_all(network) and _same(alone, network, prefix)
        if fits:
            use_plain_head(network, torch.tensor(BEGINNING + TRIED[1], device=network.device))
    finally:
        if not fits:
            network.set_attn_implementation(before)
    return fits


BEGINNING = (5, 3, 4)
TRIED = ((3, 5, 4), (4, 3, 5, 6, 3))
"""Two small examples, and what both begin with."""
PADDED = ((9, 8, 7, 3, 5, 4), (9, 8))


def _alone(network: Any, prefix: Prefix | None) -> torch.Tensor:
    """What the model makes of `TRIED`, one at a time: logits (all tokens, vocabulary)."""
    import torch

    network.eval()
    with torch.no_grad():
        ids = [torch.tensor([BEGINNING + tokens], device=network.device) for tokens in TRIED]
        given = [
            {"past_key_values": prefix.cache(network)} if prefix else {"use_cache": False}
            for _ in ids
        ]
        own = [network(input_ids=i, **g).logits[0] for i, g in zip(ids, given, strict=True)]
        return torch.cat([own[0], own[1][len(BEGINNING) :]])


def _same(alone: torch.Tensor, network: Any, prefix: Prefix | None) -> bool:
    try:
        return as_near(_packed(network, prefix), alone, alone.dtype)
    except UNFIT:  # it takes no such thing; the caller says so
        return False


def _packed(network: Any, prefix: Prefix | None) -> torch.Tensor:
    """What the model makes of `TRIED` in one row."""
    import torch

    shared = (0, len(BEGINNING))
    spans = [Span(*shared)]
    for tokens in TRIED:
        spans.append(Span(spans[-1].end, spans[-1].end + len(tokens), (shared,)))
    row = Row((*BEGINNING, *TRIED[0], *TRIED[1]), tuple(spans), (), ())
    ids = torch.tensor(row.tokens, device=network.device)
    positions = torch.tensor(row.positions, device=network.device) + len(prefix or ())
    behind = {"prefix": prefix.layers} if prefix else {}
    with torch.no_grad():
        packed: torch.Tensor = network(
            input_ids=ids[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=torch.arange(len(ids), device=network.device),
            spans=row.spans,
            **behind,
        ).logits[0]
    return packed


def _sees_padding(network: Any) -> bool:
    """Whether padding behind an example changes what the model makes of it, or is not taken."""
    training = network.training
    network.eval()
    try:
        return tried(network, lambda: _is_changed_by_padding(network))
    except UNFIT:
        return True
    finally:
        network.train(training)


def _is_changed_by_padding(network: Any) -> bool:
    import torch

    with torch.no_grad():
        long, short = (torch.tensor(tokens, device=network.device) for tokens in PADDED)
        rows = torch.nn.utils.rnn.pad_sequence([long, short], batch_first=True)
        mask = (torch.arange(len(long), device=network.device) < len(short)).long()
        given = {"attention_mask": torch.stack([torch.ones_like(mask), mask]), "use_cache": False}
        beside = network(input_ids=rows, **given).logits[1, : len(short)]
        alone = network(input_ids=short[None], use_cache=False).logits[0]
    return not as_near(beside, alone, alone.dtype)


@contextmanager
def noting(asked: dict[int, Asked]) -> Iterator[None]:
    """While a network runs once: note what each of its layers asks."""
    from transformers import AttentionInterface

    def noted(module: Any, query: torch.Tensor, *states: Any, **given: Any) -> Any:
        asked[module.layer_idx] = Asked(
            given.get("scaling") or query.shape[-1] ** -0.5,
            given.get("sliding_window"),
            given.get("softcap"),
            given.get("s_aux") is not None or given.get("dropout", 0.0) > 0,
        )
        return attend(module, query, *states, **given)

    AttentionInterface.register(ATTENTION, noted)
    try:
        yield
    finally:
        AttentionInterface.register(ATTENTION, attend)
