"""What would fit where a technique does not: the nearest setting first, then another technique,
then a smaller base of the same family.

By what arithmetic.py says a change takes away from an estimate, however that was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sartor.data.records import TrainingData
from sartor.errors import ModelError
from sartor.models import devices, local
from sartor.models.catalogue import FoundationModel, catalogue, catalogued
from sartor.models.language_model import ModelCard
from sartor.models.memory import held
from sartor.models.outline import Outline, of_shape, outline
from sartor.progress import say
from sartor.techniques.arithmetic import held_bytes, peak_bytes
from sartor.techniques.continued_pretraining import ContinuedPretraining
from sartor.techniques.extra_work import reading_texts
from sartor.techniques.lora import LoRA
from sartor.techniques.workload import Workload, from_numbers, of_texts, workload
from sartor.techniques.wrapping import innermost
from sartor.training.processes import launched
from sartor.training.settings import TrainingSettings

LEAST = 256
"""Tokens; smaller packs save little and are slow."""
CLEARLY = 0.9
"""A run is refused where so much of what arithmetic says is still too much."""
AGAIN = 4 / 3
"""Seconds of training with every block run again, in parts of those without: one forward pass more,
beside a forward and two backward ones."""


@dataclass(frozen=True, slots=True)
class Change:
    """What could be set otherwise, and the work that it would be."""

    said: str
    core: Any
    """The technique that trains then."""
    work: Workload


def nearest(
    technique: Any, work: Workload, card: ModelCard, shape: Outline, peak: float, limit: float,
    new_tokens: int, gpus: int = 1,
) -> str:  # fmt: skip
    """A sentence that names the least change by which it fits in `limit` bytes."""
    core = innermost(technique)
    of = _Peak(shape, card.parameters, new_tokens, gpus)
    beside = peak - of(core, work)
    for change in changes(core, work, shape):
        if beside + of(change.core, change.work) <= limit:
            return change.said
    return f"Choose a smaller base{_smaller(core, card, work, beside, limit, new_tokens, gpus)}."


@dataclass(frozen=True, slots=True)
class _Peak:
    """Bytes by arithmetic, on each device."""

    shape: Outline
    parameters: float
    new_tokens: int
    gpus: int

    def __call__(self, core: Any, work: Workload) -> float:
        return peak_bytes(
            work, self.shape, self.parameters, self.new_tokens,
            quantized=is_quantized(core), gpus=self.gpus,
        )  # fmt: skip


def is_quantized(core: Any) -> bool:
    """Whether it holds the base in 4 bits."""
    return getattr(core, "quantize", "none") == "4bit"


def changes(core: Any, work: Workload, shape: Outline) -> Iterator[Change]:
    """The least first: smaller packs, blocks that are run again, LoRA in place of what trains all
    weights, and its weights in 4 bits."""
    name = getattr(core, "name", "")
    if work.trains == "nothing" or not isinstance(core, TrainingSettings):
        return
    under, small = f"under [techniques.{name}]", replace(core)
    for pack in _packs(core, work):
        small = replace(core, pack_tokens=pack)
        yield Change(f"It fits with `pack_tokens = {pack}` {under}.", small, packed(small, work))
    pack = small.pack_tokens
    if not work.runs_blocks_again:
        again = replace(small, checkpointing="on")
        yield Change(
            f'It fits with `pack_tokens = {pack}` and `checkpointing = "on"` {under}, about a '
            "third slower.",
            again, packed(again, work),
        )  # fmt: skip
    lora = LoRA(pack_tokens=pack)
    adapter = replace(
        packed(lora, work), trains="adapter", trainable_parameters=lora.trainable(shape)
    )
    told = f"`pack_tokens = {pack}`"
    if work.trains == "everything":
        where = f"It fits with 'lora' in place of {name!r}, and"
        yield Change(f"{where} {told} under [techniques.lora].", lora, adapter)
    if not work.runs_blocks_again:
        lora, adapter = replace(lora, checkpointing="on"), replace(adapter, runs_blocks_again=True)
        told += ' and `checkpointing = "on"`'
        if work.trains == "everything":
            yield Change(f"{where} {told} under [techniques.lora].", lora, adapter)
    if not is_quantized(core):
        yield Change(
            f"On a GPU it fits with 'lora', {told} and `quantize = \"4bit\"` under "
            "[techniques.lora].",
            replace(lora, quantize="4bit"), adapter,
        )  # fmt: skip


def _packs(core: Any, work: Workload) -> Iterator[int]:
    """Smaller packs than what goes through at once now, as long as that makes it fewer."""
    longest = work.longest_prompt + round(work.answer_tokens)
    pack = work.tokens_at_once
    while pack > max(LEAST, longest):
        pack = max(LEAST, longest, pack // 2)
        if packed(replace(core, pack_tokens=pack), work).tokens_at_once < work.tokens_at_once:
            yield pack


def packed(core: TrainingSettings, work: Workload) -> Workload:
    """The work with the packs that `core` makes, which are no larger than those it was counted
    for, and with its blocks run again where it says so."""
    virtual = int(getattr(core, "virtual_tokens", 0))
    longest = work.longest_prompt + round(work.answer_tokens)
    at_once = max(longest, min(work.tokens_at_once, core.pack_tokens + virtual))
    again = work.runs_blocks_again or core.checkpointing in {"on", "offload"}
    return replace(work, tokens_at_once=at_once, runs_blocks_again=again)


def checkpointed(
    technique: Any, work: Workload, card: ModelCard, shape: Outline, peak: float, limit: float,
    new_tokens: int, gpus: int = 1,
) -> float | None:  # fmt: skip
    """Peak bytes with every block run again, where `checkpointing` is "auto", it does not fit in
    `limit` without that, and does with it; else None."""
    core = innermost(technique)
    if not isinstance(core, TrainingSettings) or core.checkpointing != "auto" or peak <= limit:
        return None
    of = _Peak(shape, card.parameters, new_tokens, gpus)
    after = peak - of(core, work) + of(core, replace(work, runs_blocks_again=True))
    return after if after <= limit else None


def settled(technique: Any, card: ModelCard, data: TrainingData, course: Any = None) -> Any:
    """The technique as it is about to train `card` on these data, on documents where that is its
    `course`: with checkpointing where it is to be chosen and memory needs it, which is said."""
    reads = isinstance(course, ContinuedPretraining)
    if technique.checkpointing != "auto" or not (data.documents if reads else data.train):
        return technique
    if _divided(technique):  # arithmetic.py knows nothing of several that share the weights
        return replace(technique, checkpointing="off")
    try:
        shape = outline(card)
    except ModelError:
        return technique
    work = _work(technique, card, data, course)
    written, allowed = _written(work, course), devices.limit()
    peak = held() + peak_bytes(
        work, shape, card.parameters, written, quantized=is_quantized(technique)
    )
    after = checkpointed(technique, work, card, shape, peak, allowed.bytes, written)
    if after is None:  # said to the processes that help, which have their own memory
        return replace(technique, checkpointing="off")
    say(
        f"{technique.name}: checkpointing is on: it would need about {peak / 1e9:.1f} GB, and "
        f"{allowed.why}; so it needs about {after / 1e9:.1f} GB and a third more time"
    )
    return replace(technique, checkpointing="on")


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


def _smaller(
    core: Any, card: ModelCard, work: Workload, beside: float, limit: float, new_tokens: int,
    gpus: int,
) -> str:  # fmt: skip
    """The largest smaller base of the catalogue that would fit; its own family goes first."""
    listed = catalogued(card.name)

    def order(model: FoundationModel) -> tuple[bool, float]:
        return listed is None or model.family != listed.family, -model.parameters

    for model in sorted(catalogue(), key=order):
        if model.parameters >= card.parameters or model.shape is None:
            continue
        shape = of_shape(model.shape)
        part = work.trainable_parameters / card.parameters
        trained = round(part * model.parameters)
        if hasattr(core, "trainable"):
            trained = core.trainable(shape)
        other = replace(work, trainable_parameters=trained)
        if beside + _Peak(shape, model.parameters, new_tokens, gpus)(core, other) <= limit:
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
    quantized = is_quantized(innermost(technique))
    least, allowed = held_bytes(work, card.parameters, quantized), devices.limit()
    if least > allowed.bytes:
        near = nearest(technique, work, card, shape, least, allowed.bytes, 1)
        raise ModelError(
            f"{technique.name}: {card.name} needs at least {least / 1e9:.1f} GB of memory, and "
            f"{allowed.why}. {near}"
        )


def _divided(technique: Any) -> bool:
    """Whether several processes share the weights."""
    sharding = getattr(innermost(technique), "sharding", "none")
    return sharding != "none" and launched()[1] > 1


def refuse_data_too_large(technique: Any, card: ModelCard, data: TrainingData) -> None:
    """ModelError where training on these data is clearly too much for what a candidate may take of
    this machine: by arithmetic, after preparing and before training. Nothing is tried."""
    reads = reading_texts(technique)
    if reads is not None and data.documents:
        _refuse_data(reads.stage(), card, data, reads)
    if isinstance(innermost(technique), TrainingSettings) and data.train:
        _refuse_data(technique, card, data)


def _refuse_data(technique: Any, card: ModelCard, data: TrainingData, course: Any = None) -> None:
    if _divided(technique):
        return
    try:
        shape = outline(card)
    except ModelError:
        return
    work = _work(technique, card, data, course)
    written, allowed = _written(work, course), devices.limit()
    quantized = is_quantized(innermost(technique))
    peak = peak_bytes(work, shape, card.parameters, written, quantized=quantized)
    if CLEARLY * peak <= allowed.bytes:
        return
    if checkpointed(technique, work, card, shape, CLEARLY * peak, allowed.bytes, written) is None:
        near = nearest(technique, work, card, shape, peak, allowed.bytes, written)
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
