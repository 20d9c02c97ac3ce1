"""What a technique will take on this machine: seconds and memory, before anything is spent.

Put together from how much work there is (workload.py), how fast the machine does it
(models/speed.py), and the base's shape (models/outline.py). Memory is counted as weights.py and
training/loop.py hold it. benchmarks/estimates.py compares all this with what is measured.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.models.local_model import BATCH_TOKENS
from sartor.models.outline import Outline, outline
from sartor.models.speed import BATCH, Speed
from sartor.techniques.workload import Workload
from sartor.training.masks import KEPT as LONGEST_KEPT

OPENING, INDEXING, SEARCHING, SCANNING = 1.2, 2.5e-4, 8e-3, 1e-6
"""Seconds to open an index, for each passage in it, to search for a request, and for each passage
passed over in that; on one core, of LanceDB with 3,000 and 12,000 passages."""
RETRIEVAL = 170 << 20
"""Bytes that LanceDB, pyarrow and wordllama take once they are in use."""
KEPT, KEPT_IN_FLOAT32, KEPT_OF_ATTENTION = 3.0, 4.5, 1.5
"""Bytes that training holds for the way back: for each input and output of a linear map, and for
each key that a head looks at. Counted on Llama's shape; Gemma's takes a third more."""
LOGIT, WATCHED_LOGIT = 14.0, 15.0
"""Bytes for each logit of an answer's token, with and without the way back."""
SHAPES_A_STEP, SHAPES, SHAPE = 16, 1024, 1 << 19
"""oneDNN keeps buffers for each size of matrix product it has met: so many new ones a step, at most
so many, each so many bytes and the model's width for each token. Only in bfloat16 on a CPU; the
environment variables `CACHES` set how many are kept."""
CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
INSTEAD = {
    "adapter": ", or a smaller pack_tokens",
    "everything": ", or a technique that trains less, such as lora",
}
"""What helps where training needs too much, besides a smaller base."""
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much memory a container may use."""


@dataclass(frozen=True, slots=True)
class Estimated:
    """What a candidate would take."""

    seconds_to_customize: float
    """At most: training stops sooner where validation no longer improves."""
    seconds_to_answer: float
    """All answers, if they are as long as the right ones."""
    seconds_per_answer: float
    peak_memory_bytes: int
    fits: bool
    why: str
    """Why it does not fit, and what to do; empty when it does."""


def estimate(
    workload: Workload, card: ModelCard, speed: Speed, answers: int, new_tokens: int
) -> Estimated:
    """Seconds and memory to customize `card`, then to give `answers` of at most `new_tokens`."""
    shape = outline(card)
    new_tokens = max(1, min(new_tokens, card.context - workload.longest_prompt))
    rows = _rows(workload, new_tokens)
    each = _answer_seconds(workload, speed, rows, new_tokens)
    beside = speed.resident_bytes + (RETRIEVAL if workload.passages else 0)
    answering = _answering(workload, card, shape, rows, new_tokens)
    held, left = _held(workload, card), _packs(workload, shape)
    doing = "answering" if answering > held + left else "training"
    # what training held is given back before answering; what its packs took is too scattered
    peak = round(beside + max(answering, held) + left)
    why = _too_long(workload, card) or _too_much(peak, doing, workload)
    return Estimated(
        seconds_to_customize=_customize_seconds(workload, speed),
        seconds_to_answer=answers * each,
        seconds_per_answer=each,
        peak_memory_bytes=peak,
        fits=not why,
        why=why,
    )


def _customize_seconds(workload: Workload, speed: Speed) -> float:
    seconds = (OPENING if workload.passages else 0.0) + workload.passages * INDEXING
    seconds += workload.searches * _search_seconds(workload)
    if workload.trains == "nothing":
        return seconds
    everything = workload.trains == "everything"
    training = speed.training_tokens_per_second if everything else speed.adapter_tokens_per_second
    watching = max(speed.prompt_tokens_per_second, 2 * training)  # in training's precision
    return seconds + workload.training_tokens / training + workload.watching_tokens / watching


def _answer_seconds(workload: Workload, speed: Speed, rows: int, new_tokens: int) -> float:
    read = workload.padded_tokens - workload.shared_tokens * (1 - 1 / rows)
    written = min(workload.answer_tokens, new_tokens)
    writing = speed.new_tokens_per_second * rows / BATCH  # a step takes as long for fewer rows
    searching = _search_seconds(workload) if workload.passages else 0.0
    return read / speed.prompt_tokens_per_second + written / writing + searching


def _search_seconds(workload: Workload) -> float:
    return SEARCHING + SCANNING * workload.passages


def _rows(workload: Workload, new_tokens: int) -> int:
    """How many of the longest prompts go together (local_model.py)."""
    return max(1, min(BATCH, BATCH_TOKENS // (workload.longest_prompt + new_tokens)))


def _answering(
    workload: Workload, card: ModelCard, shape: Outline, rows: int, new_tokens: int
) -> float:
    """Bytes of the weights, of the cache of keys and values, and of reading the longest prompts."""
    size = local.inference_dtype(card).itemsize
    prompt = workload.longest_prompt
    cache = rows * (prompt + new_tokens) * shape.cached
    reading = rows * prompt * (shape.widths / shape.layers + prompt)  # one layer, and the mask
    return size * (card.parameters + cache + reading)


def _held(workload: Workload, card: ModelCard) -> float:
    """Bytes of weights while training, and of the copies and moments of what is trained."""
    if workload.trains == "nothing":
        return 0.0
    half = local.has_bf16()
    state = (4 + 4 + 8) * workload.trainable_parameters  # the first, the best, Adam's two moments
    if workload.trains == "everything":
        return card.parameters * (4 + 2 * half) + state  # and what autocast makes of them
    return card.parameters * (2 if half else 4) + 4 * workload.trainable_parameters + state


def _packs(workload: Workload, shape: Outline) -> float:
    """Bytes that the largest pack takes, the largest of validation, and what both leave behind."""
    if workload.trains == "nothing":
        return 0.0
    scored = workload.answer_tokens / (workload.answer_tokens + workload.prompt_tokens)
    length = workload.prompt_tokens + workload.answer_tokens
    looked_at = length if length <= LONGEST_KEPT else 0
    kept = shape.widths * (KEPT if local.has_bf16() else KEPT_IN_FLOAT32)
    if local.has_bf16() and local.device().type == "cpu":
        kept += shape.layers * shape.heads * looked_at * KEPT_OF_ATTENTION
    kept += scored * shape.vocabulary * LOGIT
    gradients = 4 * workload.trainable_parameters  # made as the pack's own memory is freed
    watched = 2 * shape.widths / shape.layers + scored * shape.vocabulary * WATCHED_LOGIT
    return (
        max(workload.tokens_at_once * kept, gradients)
        + workload.watched_at_once * watched
        + _shapes(workload, shape)
    )


def _shapes(workload: Workload, shape: Outline) -> float:
    """Bytes that oneDNN keeps for sizes it has met."""
    if not local.has_bf16() or local.device().type != "cpu":
        return 0.0
    kept = max(int(os.environ.get(name, SHAPES)) for name in CACHES)
    met = SHAPES_A_STEP * workload.training_tokens / workload.tokens_at_once
    return min(kept, met) * (SHAPE + 2 * workload.tokens_at_once * shape.hidden)


def _too_long(workload: Workload, card: ModelCard) -> str:
    if workload.longest_prompt < card.context:
        return ""
    return (
        f"requests have up to {workload.longest_prompt:,} tokens, but {card.name} reads at most "
        f"{card.context:,}, the answer included. Shorten them, or choose another base."
    )


def _too_much(peak: int, doing: str, workload: Workload) -> str:
    there = memory()
    if peak <= there:
        return ""
    instead = INSTEAD[workload.trains] if doing == "training" else ""
    return (
        f"{doing} needs about {peak / 1e9:.1f} GB of memory, and this machine has "
        f"{there / 1e9:.1f} GB. Choose a smaller base{instead}."
    )


def memory() -> int:
    """Bytes that this machine, or this container, has in all; of the GPU where that is used."""
    import psutil
    import torch

    if local.device().type == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    said = [path.read_text().strip() for path in map(Path, LIMITS) if path.is_file()]
    limits = [int(limit) for limit in said if limit.isdigit()]  # else `max`
    return min([psutil.virtual_memory().total, *limits])
