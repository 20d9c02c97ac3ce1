"""How candidates are asked: greedily, with room for an answer as long as the right ones are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sartor.data.records import Example
from sartor.models.language_model import Sampling

SHORTEST, LONGEST = 16, 256
"""Bounds of the room for an answer, in tokens, when the project file does not say."""
MARGIN = 1.25
"""How much longer than nearly all right answers an answer may be."""
QUANTILE = 0.98


def sampling_for(
    tokenizer: Any, examples: Sequence[Example], max_new_tokens: int | None, seed: int
) -> Sampling:
    """Greedy; `max_new_tokens` when given, else what the training answers need."""
    if max_new_tokens is None:
        lengths = sorted(len(tokenizer(e.targets[0])["input_ids"]) for e in examples)
        usual = lengths[int(QUANTILE * (len(lengths) - 1))]
        max_new_tokens = min(LONGEST, max(SHORTEST, round(MARGIN * (usual + 1))))
    return Sampling(max_new_tokens=max_new_tokens, seed=seed)
