"""What would fit where a technique does not: the nearest setting first, then another technique,
then a smaller base of the same family.

By what arithmetic.py says a change takes away from an estimate, however that was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartor.data.records import TrainingData
from sartor.errors import ModelError
from sartor.models import devices, local
from sartor.models.catalogue import catalogue, catalogued
from sartor.models.language_model import ModelCard
from sartor.models.outline import Outline, of_shape, outline
from sartor.techniques.arithmetic import held_bytes, peak_bytes
from sartor.techniques.workload import Workload, from_numbers, workload
from sartor.techniques.wrapping import innermost
from sartor.training.processes import launched
from sartor.training.settings import TrainingSettings

LEAST = 256
"""Tokens; smaller packs save little and are slow."""
ADAPTED = 0.01
"""Part of a base that a LoRA adapter trains, about."""
CLEARLY = 0.9
"""A run is refused where so much of what arithmetic says is still too much."""


def nearest(
    technique: Any, work: Workload, card: ModelCard, shape: Outline, peak: float, limit: float,
    new_tokens: int, gpus: int = 1,
) -> str:  # fmt: skip
    """A sentence that names the least change by which it fits in `limit` bytes."""
    core = innermost(technique)
    quantized = getattr(core, "quantize", "none") == "4bit"
    before = peak_bytes(work, shape, card.parameters, new_tokens, quantized=quantized, gpus=gpus)
    for said, changed, packed in _changes(core, work, card, quantized):
        after = peak_bytes(changed, shape, card.parameters, new_tokens, quantized=packed, gpus=gpus)
        if peak - before + after <= limit:
            return said
    smaller = _smaller(card, work, peak - before, limit, new_tokens, quantized, gpus)
    return f"Choose a smaller base{smaller}."


def _changes(
    core: Any, work: Workload, card: ModelCard, quantized: bool
) -> Iterator[tuple[str, Workload, bool]]:
    """What to say, the work that it would be, and whether weights are in 4 bits then."""
    if work.trains == "nothing":
        return
    pack = work.tokens_at_once
    longest = work.longest_prompt + round(work.answer_tokens)
    while pack > max(LEAST, longest):
        pack = max(LEAST, longest, pack // 2)
        yield (
            f"It fits with `pack_tokens = {pack}` under [techniques.{core.name}].",
            replace(work, tokens_at_once=pack),
            quantized,
        )
    small = replace(work, tokens_at_once=pack)
    again = replace(small, runs_blocks_again=True)
    if not work.runs_blocks_again:
        yield (
            f'It fits with `pack_tokens = {pack}` and `checkpointing = "on"` under '
            f"[techniques.{core.name}], about a third slower.",
            again,
            quantized,
        )
    adapter = replace(
        small, trains="adapter", trainable_parameters=round(ADAPTED * card.parameters)
    )
    if work.trains == "everything":
        yield (
            f"It fits with 'lora' in place of {core.name!r}, and `pack_tokens = {pack}` under "
            "[techniques.lora].",
            adapter,
            False,
        )
    if not quantized:
        yield (
            "On a GPU it fits with 'lora' and `quantize = \"4bit\"` under [techniques.lora].",
            adapter,
            True,
        )


def _smaller(
    card: ModelCard, work: Workload, beside: float, limit: float, new_tokens: int,
    quantized: bool, gpus: int,
) -> str:  # fmt: skip
    """The largest smaller base of the same family that would fit, where the catalogue has one."""
    listed = catalogued(card.name)
    kin = [m for m in catalogue() if listed and m.family == listed.family and m.shape]
    for model in sorted(kin, key=lambda m: -m.parameters):
        if model.parameters >= card.parameters or model.shape is None:
            continue
        part = work.trainable_parameters / card.parameters
        other = replace(work, trainable_parameters=round(part * model.parameters))
        shape = of_shape(model.shape)
        needed = peak_bytes(
            other, shape, model.parameters, new_tokens, quantized=quantized, gpus=gpus
        )
        if beside + needed <= limit:
            return f", such as {model.id}"
    return ""


def refuse_too_large(technique: Any, card: ModelCard) -> None:
    """ModelError where what it holds throughout, however short the examples, is more than this
    machine has: told before anything is spent, without trying. Bases of which no shape can be told
    are left to the run."""
    if _divided(technique):
        return
    if not (Path(card.path) / "config.json").is_file():
        return
    try:
        shape = outline(card)
    except ModelError:
        return
    numbers = {"prompt_tokens": 1, "answer_tokens": 1, "examples": 1}
    work = from_numbers(technique, card, shape, **numbers)
    quantized = getattr(innermost(technique), "quantize", "none") == "4bit"
    held, limit = held_bytes(work, card.parameters, quantized), float(devices.memory())
    if held > limit:
        near = nearest(technique, work, card, shape, held, limit, 1)
        raise ModelError(
            f"{technique.name}: {card.name} needs at least {held / 1e9:.1f} GB of memory, and this "
            f"machine has {limit / 1e9:.1f} GB. {near}"
        )


def _divided(technique: Any) -> bool:
    """Whether several processes share the weights, which arithmetic.py knows nothing of."""
    sharding = getattr(innermost(technique), "sharding", "none")
    return sharding != "none" and launched()[1] > 1


def refuse_data_too_large(
    technique: Any, card: ModelCard, data: TrainingData, limit: float | None = None
) -> None:
    """ModelError where training on these data is clearly too much for `limit` bytes, else for what
    this machine has: by arithmetic, after preparing and before training. Nothing is tried."""
    if not isinstance(innermost(technique), TrainingSettings) or not data.train:
        return
    if _divided(technique):
        return
    try:
        shape = outline(card)
    except ModelError:
        return
    work = workload(technique, card, data, local.load_tokenizer(card))
    quantized = getattr(innermost(technique), "quantize", "none") == "4bit"
    written = max(1, round(work.answer_tokens))
    peak = peak_bytes(work, shape, card.parameters, written, quantized=quantized)
    limit = float(devices.memory()) if limit is None else limit
    if CLEARLY * peak > limit:
        near = nearest(technique, work, card, shape, peak, limit, written)
        raise ModelError(
            f"{technique.name}: {card.name} needs about {peak / 1e9:.1f} GB of memory to train on "
            f"these examples, and this machine has {limit / 1e9:.1f} GB. {near}"
        )
