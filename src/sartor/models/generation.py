"""Generation for many prompts: what they share is computed once, finished rows leave, others enter.

Where a network runs in rows, prompts are read without padding, behind a tree of what they begin
with, and written together; elsewhere they are padded, batch by batch (padded_generation.py). Greedy
unless a temperature is given. Knows nothing of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sartor.models.padded_generation import (
    must_go_alone,
    padded_steps,
    padding_is_seen,
    sees_all,
)
from sartor.models.prefix import Prefix
from sartor.models.prefix_tree import common_prefix
from sartor.models.sampling import Asked, Step

if TYPE_CHECKING:
    import torch

__all__ = [
    "BATCH_TOKENS", "ROW_TOKENS", "Step", "common_prefix", "must_go_alone", "sees_all", "steps",
]  # fmt: skip

BATCH_TOKENS = 16_384
"""Prompt and answer tokens that are held at once; bounds the memory of keys and values."""
ROW_TOKENS = 1024
"""Tokens that are read at once: enough for full products, little enough to stay in the cache."""


def steps(
    network: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int | Sequence[int],
    ends: frozenset[int],
    temperature: float = 0.0,
    seed: int = 0,
    virtual: torch.Tensor | Prefix | None = None,
    stopped: Callable[[int], bool] = lambda row: False,
    share: bool = True,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[Step]:
    """Generate for all prompts, a token a row at a time; rows are written in any order.

    `virtual`, embeddings (virtual tokens, hidden) or a Prefix, is put before every prompt. A row
    ends with a token of `ends`, when `stopped(row)`, or after `max_new_tokens` (of all rows, or of
    each). `share` computes what prompts have in common once; it changes no answer.
    """
    import torch

    if not prompts:
        return
    most = max_new_tokens
    limits = [most] * len(prompts) if isinstance(most, int) else list(most)
    seeds = [seed + row for row in range(len(prompts))]
    asked = Asked(limits, seeds, ends, temperature, virtual, stopped, share)
    with torch.inference_mode():
        if not must_go_alone(network, virtual):
            from sartor.models import packed_forward, packed_generation

            if packed_forward.runs_rows(network, virtual):
                yield from packed_generation.packed_steps(network, prompts, asked, batch_tokens)
                return
        for rows in _batches(network, prompts, asked, batch_tokens):
            for step in padded_steps(network, [prompts[row] for row in rows], asked.of(rows)):
                yield Step(tuple((rows[i], token) for i, token in step.tokens))


def _batches(
    network: Any, prompts: Sequence[Sequence[int]], asked: Asked, batch_tokens: int
) -> Iterator[list[int]]:
    """Like lengths together, within `batch_tokens`."""
    from sartor.models.rotary import apart

    alone = must_go_alone(network, asked.virtual)
    alone = alone or (len(prompts) > 1 and padding_is_seen(network))
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), list(prompts[row])))
    before = 0 if asked.virtual is None else len(asked.virtual)
    ends = [before + len(prompts[row]) + asked.limits[row] for row in order]
    near, *far = apart(network, ends)
    yield from ([order[place]] for [place] in far)
    batch: list[int] = []
    for row in (order[place] for place in near):  # ascending, so the newest is the longest
        size = (len(prompts[row]) + asked.limits[row]) * (len(batch) + 1)
        if batch and (size > batch_tokens or alone):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
