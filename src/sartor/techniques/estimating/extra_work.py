"""What techniques around a trained one add to its work: preferences, searches, merges, teachers.

By name; one that is not here adds nothing but what it puts into prompts (drawn.py). Figures are
upper bounds where a technique may stop sooner, as searches that prune do.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sartor.data.records import Document, TrainingData
from sartor.models import chat
from sartor.models.language_model import ModelCard
from sartor.techniques.continued_pretraining import ContinuedPretraining
from sartor.techniques.estimating.counted import SAMPLE, Counted
from sartor.techniques.estimating.drawn import layers
from sartor.techniques.estimating.preference_work import preferences
from sartor.techniques.estimating.teacher_work import distill
from sartor.techniques.optimized_prompt import BOOTSTRAPPED, FIRST
from sartor.training.corpus import HELD as HELD_DOCUMENTS
from sartor.training.corpus import WATCHED


def extended(work: Any, technique: Any, counted: Counted) -> Any:
    """The work with what every technique adds around that inside it."""
    for layer in reversed(list(layers(technique))):
        if add := ADDED.get(layer.name):
            work = add(work, layer, counted)
    return work


def one_rate(technique: Any) -> bool:
    """Whether one learning rate is tried at a time: a search chooses it."""
    return any(layer.name == "search" for layer in layers(technique))


def _search(work: Any, layer: Any, counted: Counted) -> Any:
    del counted
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


def _merge(work: Any, layer: Any, counted: Counted) -> Any:
    if layer.adapters:
        parts, work = len(layer.adapters), replace(work, training_tokens=0, looks=0)
    elif layer.by == "seed":
        parts, work = layer.most, _times(work, layer.most)
    else:
        parts = _tagged(counted.data, layer.most)
        options = counted.options
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


def _stack(work: Any, layer: Any, counted: Counted) -> Any:
    del counted
    return work if layer.on else _times(work, 2)


def _optimized_prompt(work: Any, layer: Any, counted: Counted) -> Any:
    """Answers of all rounds, each example once for a prompt."""
    examples = min(len(counted.data.validation), layer.validation_examples)
    asked, left, count, before = min(BOOTSTRAPPED, len(counted.data.train)), layer.prompts, FIRST, 0
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


ADDED: dict[str, Callable[[Any, Any, Counted], Any]] = {
    "dpo": preferences, "orpo": preferences, "kto": preferences, "search": _search,
    "merge": _merge, "stack": _stack, "distill": distill, "optimized-prompt": _optimized_prompt,
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
