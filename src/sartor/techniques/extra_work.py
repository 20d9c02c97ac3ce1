"""What techniques around a trained one add to its work: preferences, searches, merges, teachers.

By name; one that is not here adds nothing but what it puts into prompts (drawn.py). Figures are
upper bounds where a technique may stop sooner, as searches that prune do.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from sartor.data.records import Document, Example, TrainingData
from sartor.models import chat, local
from sartor.models.language_model import ModelCard
from sartor.models.named import card_named, tokenizer_of
from sartor.techniques.continued_pretraining import ContinuedPretraining
from sartor.techniques.drawn import Drawn, layers
from sartor.techniques.optimized_prompt import BOOTSTRAPPED, FIRST
from sartor.techniques.priced import Priced, priced
from sartor.techniques.wrapping import innermost
from sartor.training.corpus import HELD as HELD_DOCUMENTS
from sartor.training.corpus import WATCHED
from sartor.training.judged import HELD, pairs_of
from sartor.training.settings import TrainingSettings

SAMPLE = 100
"""Examples and documents whose tokens are counted; the rest are taken to be like them."""


@dataclass(frozen=True, slots=True)
class Around:
    """What is known of a candidate's data while its work is counted."""

    card: ModelCard
    data: TrainingData
    drawn: Drawn
    tokenizer: Any
    options: TrainingSettings | None
    """Of the innermost technique; None where nothing is trained."""
    one_rate: bool
    """Whether one learning rate is tried at a time."""
    plan: Callable[[TrainingSettings, list[int], list[int], int], Any]
    """The work of a training: its settings, tokens of some examples and of those that are watched,
    and how many examples there are."""
    whole: Callable[[Any], Any]
    """The work of another technique on the same data."""

    def answer(self, text: str) -> int:
        return len(chat.encode_answer(self.tokenizer, text))

    def prompt(self, example: Example) -> int:
        return len(self.drawn.prompt(example))


def extended(work: Any, technique: Any, around: Around) -> Any:
    """The work with what every technique adds around that inside it."""
    for layer in reversed(list(layers(technique))):
        if add := ADDED.get(layer.name):
            work = add(work, layer, around)
    return work


def one_rate(technique: Any) -> bool:
    """Whether one learning rate is tried at a time: a search chooses it."""
    return any(layer.name == "search" for layer in layers(technique))


def _preferences(work: Any, layer: Any, around: Around) -> Any:
    options = around.options
    assert options is not None
    rates = layer.learning_rates[:1] if around.one_rate else layer.learning_rates
    options = replace(options, learning_rates=rates, epochs=layer.epochs)
    thumbs = layer.name == "kto"
    items = _thumbs if thumbs else _pairs
    data = around.data
    train = list(items(around, (*data.train, *(data.disliked if thumbs else ()))))
    held = list(items(around, data.validation))
    if not train:
        return work
    if not held:
        train, held = train[: -(len(train) // HELD) or None], train[-max(1, len(train) // HELD) :]
    all_tokens = sum(train) + sum(held)
    second = around.plan(options, train, held, len(train))
    read = work.read_tokens + second.looks * second.watched_tokens
    if layer.name != "orpo":  # the reference: what the network gives as training finds it
        read += all_tokens * (2 if thumbs else 1)
    if thumbs:  # how far the model has moved, at each step
        read += second.training_tokens
    first = work.training_tokens if layer.supervised else 0
    return replace(
        work,
        training_tokens=first + second.training_tokens,
        looks=work.looks if layer.supervised else 0,
        read_tokens=read,
        tokens_at_once=max(work.tokens_at_once, second.tokens_at_once),
    )


def _pairs(around: Around, examples: Sequence[Example]) -> Iterator[int]:
    """Tokens of a request with a right and a rejected answer."""
    for example in _some(pairs_of(examples)):
        before = around.prompt(example) + around.answer(example.targets[0])
        yield from (before + around.answer(rejected) for rejected in example.rejected)


def _thumbs(around: Around, examples: Sequence[Example]) -> Iterator[int]:
    """Tokens of a request with one answer, right or rejected."""
    for example in _some(examples):
        prompt = around.prompt(example)
        yield from (prompt + around.answer(t) for t in (*example.targets[:1], *example.rejected))


def _some(examples: Sequence[Example]) -> list[Example]:
    return list(examples) if len(examples) <= MOST else random.Random(0).sample(examples, MOST)


MOST = 2000
"""Judged examples whose tokens are counted."""


def _search(work: Any, layer: Any, around: Around) -> Any:
    del around
    trials = float(layer.trials)
    if layer.budget_tokens is not None and work.training_tokens:
        trials = min(trials, math.ceil(layer.budget_tokens / work.training_tokens))
    return replace(_times(work, trials), most_seconds=layer.budget_seconds or math.inf)


def _times(work: Any, count: float) -> Any:
    return replace(
        work,
        runs=work.runs * count,
        training_tokens=round(work.training_tokens * count),
        looks=round(work.looks * count),
        read_tokens=work.read_tokens * count,
        asked_prompt_tokens=work.asked_prompt_tokens * count,
        asked_new_tokens=work.asked_new_tokens * count,
    )


def _merge(work: Any, layer: Any, around: Around) -> Any:
    if layer.adapters:
        parts, work = len(layer.adapters), replace(work, training_tokens=0, looks=0)
    elif layer.by == "seed":
        parts, work = layer.most, _times(work, layer.most)
    else:
        parts = _tagged(around.data, layer.most)
        options = around.options
        assert options is not None
        tries = work.training_tokens / max(1, work.planned_tokens)
        at_most = options.epochs * work.epoch_tokens * tries
        trained = min(parts * work.training_tokens, max(work.training_tokens, at_most))
        work = replace(work, training_tokens=round(trained), runs=work.runs * parts)
    choices = 1 if layer.weights else parts + 3
    return replace(work, read_tokens=work.read_tokens + choices * work.watched_tokens)


def _tagged(data: TrainingData, most: int) -> int:
    """Parts that examples fall into by their most frequent tags."""
    counts = Counter(tag for example in data.train for tag in example.tags)
    tags = {tag for tag, _ in counts.most_common(most)}
    return len(tags) + any(not tags & set(example.tags) for example in data.train)


def _stack(work: Any, layer: Any, around: Around) -> Any:
    del around
    return work if layer.on else _times(work, 2)


def _distill(work: Any, layer: Any, around: Around) -> Any:
    """The teacher's answers; those of a provider's machine cost money in place of work here."""
    from sartor.techniques.registry import build

    card = card_named(layer.teacher) if layer.teacher else around.card
    teacher = build(layer.teacher_technique, layer.teacher_settings)
    asked = (*around.data.train, *around.data.disliked)
    if card.remote is not None:
        bought = _bought(teacher, card, around.data, asked, layer.max_new_tokens)
        return replace(work, bought=(*work.bought, bought))
    drawn = Drawn(teacher, around.card, around.data, around.tokenizer)
    few = random.Random(0).sample(asked, min(SAMPLE, len(asked)))
    prompt = fmean(len(drawn.prompt(example)) for example in few) + drawn.virtual
    ratio = card.parameters / around.card.parameters
    work = replace(
        work,
        asked_prompt_tokens=work.asked_prompt_tokens + ratio * len(asked) * prompt,
        asked_new_tokens=work.asked_new_tokens
        + ratio * len(asked) * min(work.answer_tokens, layer.max_new_tokens),
    )
    if layer.teacher:
        each = local.inference_dtype(card).itemsize
        work = replace(work, other_bytes=max(work.other_bytes, each * card.parameters))
    if isinstance(innermost(teacher), TrainingSettings):
        taught = around.whole(teacher).training_tokens
        work = replace(work, training_tokens=work.training_tokens + round(ratio * taught))
    return work


def _bought(
    teacher: Any, card: ModelCard, data: TrainingData, asked: Sequence[Example], most: int
) -> Priced:
    """The answers of a teacher on a provider's machine, as long as right ones, in its tokens."""
    tokenizer = tokenizer_of(card)
    drawn = Drawn(teacher, card, data, tokenizer)
    few = random.Random(0).sample(asked, min(SAMPLE, len(asked)))
    right = [target for e in few for target in e.targets[:1]]
    prompt = fmean(len(drawn.prompt(example)) for example in few)
    answer = fmean(len(chat.encode_answer(tokenizer, one)) for one in right) if right else most
    return priced(card, len(asked), len(asked) * prompt, len(asked) * min(answer, most))


def _optimized_prompt(work: Any, layer: Any, around: Around) -> Any:
    """Answers of all rounds, each example once for a prompt."""
    examples = min(len(around.data.validation), layer.validation_examples)
    asked, left, count, before = min(BOOTSTRAPPED, len(around.data.train)), layer.prompts, FIRST, 0
    while before < examples:
        count = min(count, examples) if left > 1 else examples
        asked += left * (count - before)
        left, count, before = max(1, left // 2), 2 * count, count
    return replace(
        work,
        asked_prompt_tokens=work.asked_prompt_tokens + asked * work.prompt_tokens,
        asked_new_tokens=work.asked_new_tokens
        + asked * min(work.answer_tokens, layer.max_new_tokens),
    )


ADDED: dict[str, Callable[[Any, Any, Around], Any]] = {
    "dpo": _preferences, "orpo": _preferences, "kto": _preferences, "search": _search,
    "merge": _merge, "stack": _stack, "distill": _distill, "optimized-prompt": _optimized_prompt,
}  # fmt: skip


def reading_texts(technique: Any) -> ContinuedPretraining | None:
    """The technique in it that trains on the documents themselves, before what is inside it."""
    found = (layer for layer in layers(technique) if isinstance(layer, ContinuedPretraining))
    return next(found, None)


def pieces(
    layer: ContinuedPretraining, card: ModelCard, documents: Sequence[Document], tokenizer: Any
) -> tuple[list[int], list[int], int]:
    """Tokens of some pieces that documents are cut to, and of those that the loss is watched on,
    and how many pieces there are to train on, about."""
    few = random.Random(0).sample(list(documents), min(SAMPLE, len(documents)))
    length, sizes = min(layer.piece_tokens, card.context), list[int]()
    for document in few:
        tokens = len(chat.encode_answer(tokenizer, f"{document.title}\n\n{document.text}"))
        whole, rest = divmod(tokens, length)
        sizes += [length] * whole + ([rest] if rest else [])
    many = len(sizes) * len(documents) / max(1, len(few))
    watched = sizes[: max(1, min(round(many / HELD_DOCUMENTS), WATCHED // length))]
    return sizes, watched, max(1, round(many * (1 - 1 / HELD_DOCUMENTS)))
