"""A technique made to fit before it trains, or refused: by arithmetic, nothing is tried.

What is left to us is chosen (chosen.py); where nothing helps, what would is said (nearest.py).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sartor.data.records import TrainingData
from sartor.errors import ModelError
from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.models.memory import held
from sartor.models.outline import outline
from sartor.progress import say
from sartor.techniques.continued_pretraining import ContinuedPretraining
from sartor.techniques.estimating.arithmetic import held_bytes, peak_bytes
from sartor.techniques.estimating.chosen import chosen
from sartor.techniques.estimating.extra_work import reading_texts
from sartor.techniques.estimating.nearest import nearest
from sartor.techniques.estimating.peaks import host_refusal, is_quantized, limit_of
from sartor.techniques.estimating.workload import Workload, from_numbers, of_texts, workload
from sartor.techniques.wrapping import innermost
from sartor.training.settings import CHOSEN, TrainingSettings

CLEARLY = 0.9
"""A run is refused where so much of what arithmetic says is still too much."""


def settled(technique: Any, card: ModelCard, data: TrainingData, course: Any = None) -> Any:
    """The technique as it is about to train `card` on these data, on documents where that is its
    `course`: with what is to be chosen as memory needs it, which is said."""
    reads = isinstance(course, ContinuedPretraining)
    open_ = [name for name in CHOSEN if getattr(technique, name) == "auto"]
    if not open_ or not (data.documents if reads else data.train):
        return technique
    try:
        shape = outline(card)
    except ModelError:
        return technique
    work = _work(technique, card, data, course)
    written, allowed = _written(work, course), limit_of(work)
    peak = held() + peak_bytes(
        work, shape, card.parameters, written, quantized=is_quantized(technique)
    )
    found = chosen(technique, work, card, shape, peak, allowed, written)
    if found is not None and found.said:
        say(
            f"{technique.name}: {found.said}: it would need about {peak / 1e9:.1f} GB, and "
            f"{allowed.why}; so it needs about {found.peak / 1e9:.1f} GB"
            + (" and a third more time" if found.slower > 1 else "")
        )
    core = technique if found is None else found.core
    # said to the processes that help too, which have their own memory
    told = {n: CHOSEN[n] if getattr(core, n) == "auto" else getattr(core, n) for n in open_}
    return replace(technique, **told)


def _work(technique: Any, card: ModelCard, data: TrainingData, course: Any) -> Workload:
    """Of the examples; or of the documents, where they are what is trained on."""
    tokenizer = local.load_tokenizer(card)
    if isinstance(course, ContinuedPretraining):
        return of_texts(course, card, data, tokenizer)
    return workload(technique, card, data, tokenizer)


def _written(work: Workload, course: Any) -> int:
    """Tokens of an answer; nothing is asked where documents are read."""
    reads = isinstance(course, ContinuedPretraining)
    return 1 if reads else max(1, round(work.answer_tokens))


def refuse_too_large(technique: Any, card: ModelCard) -> None:
    """ModelError where what it holds throughout, however short the examples, is more than this
    machine has: told before anything is spent, without trying. Bases of which no shape can be told
    are left to the run."""
    if not (Path(card.path) / "config.json").is_file():
        return
    try:
        shape = outline(card)
    except ModelError:
        return
    numbers = {"prompt_tokens": 1, "answer_tokens": 1, "examples": 1}
    work = from_numbers(technique, card, shape, **numbers)
    quantized = is_quantized(innermost(technique))
    allowed = limit_of(work)
    if allowed.of_gpu and getattr(innermost(technique), "optimizer_on_host", "off") != "off":
        work = replace(work, state_on_host=True)
    least = held_bytes(work, card.parameters, quantized)
    if least > allowed.bytes:
        near = nearest(technique, work, card, shape, least, allowed, 1)
        raise ModelError(
            f"{technique.name}: {card.name} needs at least {least / 1e9:.1f} GB of memory, and "
            f"{allowed.why}. {near}"
        )


def refuse_data_too_large(technique: Any, card: ModelCard, data: TrainingData) -> None:
    """ModelError where training on these data is clearly too much for what a candidate may take of
    this machine: by arithmetic, after preparing and before training. Nothing is tried."""
    reads = reading_texts(technique)
    if reads is not None and data.documents:
        _refuse_data(reads.stage(), card, data, reads)
    if isinstance(innermost(technique), TrainingSettings) and data.train:
        _refuse_data(technique, card, data)


def _refuse_data(technique: Any, card: ModelCard, data: TrainingData, course: Any = None) -> None:
    try:
        shape = outline(card)
    except ModelError:
        return
    work = _work(technique, card, data, course)
    written, allowed = _written(work, course), limit_of(work)
    quantized = is_quantized(innermost(technique))
    peak = peak_bytes(work, shape, card.parameters, written, quantized=quantized)
    if why := host_refusal(work, shape, card.parameters, allowed):
        raise ModelError(f"{technique.name}: {why}")
    if CLEARLY * peak <= allowed.bytes:
        return
    if chosen(technique, work, card, shape, CLEARLY * peak, allowed, written) is None:
        near = nearest(technique, work, card, shape, peak, allowed, written)
        name, what = technique.name, "examples"
        if course is not None:
            name, what = course.name, "documents"
            near = by_its_name(near, name, technique.name)
        raise ModelError(
            f"{name}: {card.name} needs about {peak / 1e9:.1f} GB of memory to train on "
            f"these {what}, and {allowed.why}. {near}"
        )


def by_its_name(why: str, name: str, stage: str) -> str:
    """What would fit, by the settings of the technique `name` that reads documents in a stage."""
    if "quantize" in why:  # which it has not
        return f"{why.partition('On a GPU it fits')[0]}Choose a smaller base."
    why = why.replace(f"'lora' in place of {stage!r}", '`trained = "lora"`')
    return why.replace(f"[techniques.{stage}]", f"[techniques.{name}]").replace(
        "[techniques.lora]", f"[techniques.{name}]"
    )
