"""How much work a technique will be on a project's data: counted before anything is spent.

On a sample of the examples, put as the technique will put them (drawn.py). What it trains is told
by its settings, so that one's own techniques are estimated too; one that has none of training's
trains nothing.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import Any, Literal

from sartor.data.records import TrainingData
from sartor.models import chat
from sartor.models.generation import common_prefix
from sartor.models.language_model import ModelCard
from sartor.models.outline import outline
from sartor.models.speed import BATCH
from sartor.techniques.drawn import Drawn
from sartor.techniques.wrapping import innermost
from sartor.training.loop import VALIDATION_EXAMPLES, TrainingSettings
from sartor.training.sharing import WORTH_SHARING

SAMPLE = 100
"""Examples whose tokens are counted; the rest are taken to be like them."""
UNKNOWN_ADAPTER = 0.01
"""Part of a base's parameters that an adapter of a kind not known here is taken to have."""

Trains = Literal["nothing", "adapter", "everything"]


@dataclass(frozen=True, slots=True)
class Workload:
    """What a technique will put through a base model, in the base's tokens."""

    prompt_tokens: float
    """Of a request as the model reads it, virtual tokens included; the mean."""
    padded_tokens: float
    """The same with the padding to the longest of its batch."""
    longest_prompt: int
    shared_tokens: int
    """What all prompts begin with; a batch computes it once."""
    answer_tokens: float
    """Of a right answer; the mean."""
    passages: int
    """To index, about."""
    trains: Trains
    trainable_parameters: int
    training_tokens: int = 0
    """Forward and back, at most: every learning rate's try, and the whole run."""
    watching_tokens: int = 0
    """Forward only, at most: looks at validation."""
    tokens_at_once: int = 0
    """Of the largest pack that is trained on."""
    watched_at_once: int = 0
    """Of the largest pack of validation."""
    searches: int = 0
    """Requests that passages are searched for before training."""


def workload(technique: Any, card: ModelCard, data: TrainingData, tokenizer: Any) -> Workload:
    """Count the work of `technique`, which may have others inside, on a sample of `data`."""
    drawn = Drawn(technique, card, data, tokenizer)
    few = random.Random(0).sample(data.train, min(SAMPLE, len(data.train)))
    few.sort(key=lambda example: sum(len(message.content) for message in example.input))
    prompts = [drawn.prompt(example) for example in few]
    answers = [len(chat.encode_answer(tokenizer, example.targets[0])) for example in few]
    trains, trainable = _trained(technique, card)
    work = Workload(
        prompt_tokens=fmean(map(len, prompts)) + drawn.virtual,
        padded_tokens=_padded([len(prompt) for prompt in prompts]) + drawn.virtual,
        longest_prompt=max(map(len, prompts)) + drawn.virtual,
        shared_tokens=drawn.virtual + (common_prefix(prompts) if len(prompts) > 1 else 0),
        answer_tokens=fmean(answers),
        passages=drawn.count_passages(),
        trains=trains,
        trainable_parameters=trainable,
    )
    if trains == "nothing":
        return work
    held = sorted(data.validation, key=lambda e: e.id)[:VALIDATION_EXAMPLES]
    return _with_training(
        work,
        innermost(technique),
        train=[drawn.size(example) for example in few],
        held=[drawn.size(example) for example in held],
        virtual=drawn.virtual,
        data=data,
    )


def _padded(lengths: list[int]) -> float:
    """The mean length, where those that are asked together are as long as their longest."""
    batches = [lengths[start : start + BATCH] for start in range(0, len(lengths), BATCH)]
    return sum(max(batch) * len(batch) for batch in batches) / len(lengths)


def _trained(technique: Any, card: ModelCard) -> tuple[Trains, int]:
    """What the innermost technique trains, and how many values that is."""
    core = innermost(technique)
    if not isinstance(core, TrainingSettings):
        return "nothing", 0
    if hasattr(core, "trainable"):
        return "adapter", core.trainable(outline(card))
    if hasattr(core, "target_modules"):
        return "adapter", round(UNKNOWN_ADAPTER * card.parameters)
    return "everything", card.parameters


def _with_training(
    work: Workload,
    options: TrainingSettings,
    *,
    train: list[int],
    held: list[int],
    virtual: int,
    data: TrainingData,
) -> Workload:
    """With the tokens of training, as training/loop.py plans its steps.

    `train` and `held` are the tokens of examples; `max_tokens` counts those of `train`. What all
    begin with, virtual tokens too, is computed once for all that go through at once (sharing.py).
    """
    many, mean, longest = len(data.train), fmean(train), max(train) + virtual
    epochs = min(options.epochs, options.max_tokens / (mean * many))
    steps = max(1, math.ceil(epochs * many / options.batch_size))
    tries = len(options.learning_rates) if len(options.learning_rates) > 1 else 0
    short = max(1, round(steps * options.search_fraction))
    looks = tries + math.ceil(steps / max(1, math.ceil(steps / options.looks)))
    common = work.shared_tokens - virtual
    common = common if common >= WORTH_SHARING else 0
    batch = options.batch_size * (mean - common) + common + virtual
    largest = batch + 2 * pstdev(train) * options.batch_size**0.5
    return replace(
        work,
        training_tokens=round((steps + tries * short) * batch),
        watching_tokens=looks * (sum(held) + virtual),
        tokens_at_once=round(max(longest, min(largest, options.pack_tokens))),
        watched_at_once=virtual + max([*held, min(sum(held), options.pack_tokens)]),
        searches=many + len(data.validation) if work.passages else 0,
    )
