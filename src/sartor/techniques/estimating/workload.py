"""How much work a technique will be on a project's data: counted before anything is spent.

On a sample of the examples, put as the technique will put them (drawn.py). What it trains is told
by its settings, so that one's own techniques are estimated too; one that has none of training's
trains nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import Any, Literal

from sartor.data.records import TrainingData
from sartor.models import chat
from sartor.models.generation import common_prefix
from sartor.models.language_model import ModelCard
from sartor.models.outline import Outline, outline
from sartor.techniques.continued_pretraining import ContinuedPretraining
from sartor.techniques.estimating.counted import SAMPLE, Counted
from sartor.techniques.estimating.division import (
    ALONE,
    Division,
    at_once,
    division_of,
    on_gpu,
    share,
)
from sartor.techniques.estimating.drawn import Drawn, layers
from sartor.techniques.estimating.extra_work import extended, one_rate, pieces
from sartor.techniques.estimating.priced import Priced
from sartor.techniques.wrapping import innermost
from sartor.training.lanes import SMALL
from sartor.training.loop import VALIDATION_EXAMPLES, TrainingSettings
from sartor.training.sharing import WORTH_SHARING

UNKNOWN_ADAPTER = 0.01
"""Part of a base's parameters that an adapter of a kind not known here is taken to have."""

Trains = Literal["nothing", "adapter", "everything"]


@dataclass(frozen=True, slots=True)
class Workload:
    """What a technique will put through a base model, in the base's tokens."""

    prompt_tokens: float
    """Of a request as the model reads it, virtual tokens included; the mean."""
    longest_prompt: int
    shared_tokens: int
    """What all prompts begin with; what goes through at once computes it once."""
    answer_tokens: float
    """Of a right answer; the mean."""
    passages: int
    """To index, about."""
    trains: Trains
    trainable_parameters: int
    training_tokens: int = 0
    """Forward and back, at most: every learning rate's try, and the whole run."""
    epoch_tokens: int = 0
    """Of one pass over the training examples."""
    looks: int = 0
    """At validation, at most."""
    watched_tokens: int = 0
    """Forward only, at each look."""
    tokens_at_once: int = 0
    """Of the largest pack that is trained on."""
    watched_at_once: int = 0
    """Of the largest pack of validation."""
    searches: int = 0
    """Requests that passages are searched for before training."""
    planned_tokens: int = 0
    """Of the whole run alone, without tries of learning rates."""
    runs: float = 1.0
    """How often training begins from nothing: searches, merges and stacks train several times."""
    read_tokens: float = 0.0
    """Forward only, beside looks: references of preferences, merges that are compared."""
    asked_prompt_tokens: float = 0.0
    """Of requests that are answered while it is customized, in all."""
    asked_new_tokens: float = 0.0
    other_bytes: float = 0.0
    """Of another model that answers then."""
    most_seconds: float = math.inf
    """No new run of training begins after so many."""
    scores_everything: bool = False
    """Whether all tokens are scored, not only those of answers."""
    runs_blocks_again: bool = False
    """Whether activations are made anew on the way back (training/checkpointing.py)."""
    bought: tuple[Priced, ...] = ()
    """Answers of remote models that are learned from."""
    inputs_on_host: bool = False
    """Whether what goes into blocks that are run again is kept in the machine's memory."""
    state_on_host: bool = False
    """Whether the optimizer's state is (training/host_optimizer.py)."""
    steps: int = 0
    """Of the optimizer, of all tries and the whole run."""
    division: Division = ALONE
    """Among processes that train together; `tokens_at_once` is of each."""
    largest_part: float = 1.0
    """Of a step's tokens, what the process with the most of them has."""


def workload(technique: Any, card: ModelCard, data: TrainingData, tokenizer: Any) -> Workload:
    """Count the work of `technique`, which may have others inside, on a sample of `data`."""
    drawn = Drawn(technique, card, data, tokenizer)
    few = random.Random(0).sample(data.train, min(SAMPLE, len(data.train)))
    prompts = [drawn.prompt(example) for example in few]
    answers = [len(chat.encode_answer(tokenizer, example.targets[0])) for example in few]
    trains, trainable = _trained(technique, card, lambda: outline(card))
    work = Workload(
        prompt_tokens=fmean(map(len, prompts)) + drawn.virtual,
        longest_prompt=max(map(len, prompts)) + drawn.virtual,
        shared_tokens=drawn.virtual + (common_prefix(prompts) if len(prompts) > 1 else 0),
        answer_tokens=fmean(answers),
        passages=drawn.count_passages(),
        trains=trains,
        trainable_parameters=trainable,
    )
    options = innermost(technique) if trains != "nothing" else None
    if options is not None and one_rate(technique):
        options = replace(options, learning_rates=options.learning_rates[:1])

    asked = work

    def plan(options: TrainingSettings, train: list[int], held: list[int], many: int) -> Workload:
        return _with_training(
            asked, options, train=train, held=held, virtual=drawn.virtual, many=many,
            validated=len(data.validation), width=outline(card).hidden,
        )  # fmt: skip

    counted = Counted(
        card, data, drawn, tokenizer, options, one_rate(technique), plan,
        lambda other: workload(other, card, data, tokenizer),
    )  # fmt: skip
    if options is not None:
        held = sorted(data.validation, key=lambda e: e.id)[:VALIDATION_EXAMPLES]
        train, watched = ([drawn.size(example) for example in some] for some in (few, held))
        work = plan(options, train, watched, len(data.train))
    whole: Workload = extended(work, technique, counted)
    return whole


def of_texts(
    layer: ContinuedPretraining, card: ModelCard, data: TrainingData, tokenizer: Any
) -> Workload:
    """The work of training on the documents themselves; nothing is asked."""
    sizes, watched, many = pieces(layer, card, data.documents, tokenizer)
    trains, trainable = _trained(layer.stage(), card, lambda: outline(card))
    work = Workload(
        prompt_tokens=1.0, longest_prompt=1, shared_tokens=0, answer_tokens=fmean(sizes),
        passages=0, trains=trains, trainable_parameters=trainable, scores_everything=True,
    )  # fmt: skip
    return _with_training(
        work, layer, train=sizes, held=watched, virtual=0, many=many, validated=0,
        width=outline(card).hidden,
    )  # fmt: skip


def from_numbers(
    technique: Any, card: ModelCard, shape: Outline, *,
    prompt_tokens: int, answer_tokens: int, examples: int,
) -> Workload:  # fmt: skip
    """The work on examples that are all as long as told; no tokenizer is needed."""
    core = innermost(technique)
    virtual = sum(getattr(layer, "virtual_tokens", 0) for layer in layers(technique))
    trains, trainable = _trained(technique, card, lambda: shape)
    work = Workload(
        prompt_tokens=prompt_tokens + virtual,
        longest_prompt=prompt_tokens + virtual,
        shared_tokens=virtual,
        answer_tokens=answer_tokens,
        passages=0,
        trains=trains,
        trainable_parameters=trainable,
    )
    if trains == "nothing":
        return work
    each = min(prompt_tokens + answer_tokens, card.context)
    held = min(VALIDATION_EXAMPLES, max(1, examples // 10))
    return _with_training(
        work, core, train=[each] * min(examples, SAMPLE), held=[each] * held, virtual=virtual,
        many=examples, validated=held, width=shape.hidden,
    )  # fmt: skip


def _trained(
    technique: Any, card: ModelCard, outlined: Callable[[], Outline]
) -> tuple[Trains, int]:
    """What the innermost technique trains, and how many values that is; a remote base has no
    outline, and is asked for none."""
    core = innermost(technique)
    if not isinstance(core, TrainingSettings):
        return "nothing", 0
    shape = outlined()
    if hasattr(core, "trainable"):
        return "adapter", core.trainable(shape)
    if hasattr(core, "target_modules"):
        return "adapter", round(UNKNOWN_ADAPTER * card.parameters)
    upper = getattr(core, "upper_layers", None) or shape.layers
    return "everything", round(card.parameters * min(1.0, upper / shape.layers))


def _with_training(
    work: Workload,
    options: TrainingSettings,
    *,
    train: list[int],
    held: list[int],
    virtual: int,
    many: int,
    validated: int,
    width: int,
) -> Workload:
    """With the tokens of training, as training/loop.py plans its steps.

    `train` and `held` are the tokens of examples; `max_tokens` counts those of `train`. What all
    begin with, virtual tokens too, is there once among what goes through at once (sharing.py);
    on a CPU that is less where the model's `width` is large (pack_size.py).
    """
    mean, longest = fmean(train), max(train) + virtual
    divided = _is_divided(options, work)
    pack = at_once(options.pack_size, width, options.batch_size, divided=divided)
    epochs = min(options.epochs, options.max_tokens / (mean * many))
    steps = max(1, math.ceil(epochs * many / options.batch_size))
    tries = len(options.learning_rates) if len(options.learning_rates) > 1 else 0
    short = max(1, round(steps * options.search_fraction))
    looks = tries + math.ceil(steps / max(1, math.ceil(steps / options.looks)))
    common = work.shared_tokens - virtual
    common = common if common >= WORTH_SHARING else 0
    usual = options.batch_size * (mean - common) + common + virtual
    largest = usual + 2 * pstdev(train) * options.batch_size**0.5
    division, part = division_of(options), 1.0
    if division.processes > 1:
        mine = share(train, options.batch_size, division.processes)
        again = common * (options.batch_size / division.processes - 1)
        part, largest = mine.part, max(mean, mine.tokens - max(0.0, again)) + virtual
    return replace(
        work,
        training_tokens=round((steps + tries * short) * options.batch_size * mean),
        planned_tokens=round(steps * options.batch_size * mean),
        epoch_tokens=round(many * mean),
        looks=looks,
        watched_tokens=sum(held),
        tokens_at_once=round(max(longest, min(largest, pack + virtual))),
        watched_at_once=virtual + max([*held, min(sum(held), pack)]),
        searches=many + validated if work.passages else 0,
        runs_blocks_again=options.checkpointing in {"on", "offload"},
        inputs_on_host=options.checkpointing == "offload" and on_gpu(),
        state_on_host=options.optimizer_on_host == "on" and on_gpu(),
        steps=steps + tries * short,
        division=division,
        largest_part=part,
    )


def _is_divided(options: TrainingSettings, work: Workload) -> bool:
    """Whether threads may have parts of a step (training/lanes.py), as far as settings tell."""
    if options.plain or any(getattr(options, name, 0) for name in ("dropout", "upper_layers")):
        return False
    return work.trains != "everything" or 4 * work.trainable_parameters <= SMALL
