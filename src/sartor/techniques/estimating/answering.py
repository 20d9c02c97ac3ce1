"""The memory of answering: of prompts that are read, and of answers that are written together."""

from __future__ import annotations

from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.models.local_model import BATCH_TOKENS
from sartor.models.outline import outline
from sartor.techniques.estimating.copies_asked import ASKED, COUNTED, laid_out
from sartor.techniques.estimating.probe import Probed
from sartor.techniques.estimating.workload import Workload


def answering_bytes(work: Workload, card: ModelCard, seen: Probed, new_tokens: int) -> float:
    """Bytes of tensors that are there at once, at most, with answers of so many tokens."""
    together = _rows(work, new_tokens)
    # while prompts are read their keys are there twice: room for the first tokens that are written
    longer = max(0.0, new_tokens - COUNTED - work.longest_prompt / 2)
    reading = seen.answering_bytes + longer * together * _cached(card)
    if not (anew := laid_out(seen.laid_out_bytes, together, new_tokens)):
        return reading
    if together < ASKED:  # others are read once some are written, beside weights laid out by then
        reading += anew
    weights = card.parameters * local.inference_dtype(card).itemsize
    return max(reading, weights + seen.kept_bytes + anew)


def _rows(work: Workload, new_tokens: int) -> int:
    """How many of the longest prompts go together (local_model.py)."""
    return max(1, min(ASKED, BATCH_TOKENS // (work.longest_prompt + new_tokens)))


def _cached(card: ModelCard) -> int:
    """Bytes of keys and values of a token."""
    return outline(card).cached * local.inference_dtype(card).itemsize
