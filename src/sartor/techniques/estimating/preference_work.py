"""What learning from judged answers adds to a technique's work: a second training."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sartor.data.records import Example
from sartor.techniques.estimating.counted import Counted
from sartor.training.judged import HELD, pairs_of

MOST = 2000
"""Judged examples whose tokens are counted."""


def preferences(work: Any, layer: Any, counted: Counted) -> Any:
    """With that training, and what it is compared with while it runs."""
    options = counted.options
    assert options is not None
    rates = layer.learning_rates[:1] if counted.one_rate else layer.learning_rates
    options = replace(options, learning_rates=rates, epochs=layer.epochs)
    thumbs = layer.name == "kto"
    items = _thumbs if thumbs else _pairs
    data = counted.data
    train = list(items(counted, (*data.train, *(data.disliked if thumbs else ()))))
    held = list(items(counted, data.validation))
    if not train:
        return work
    if not held:
        train, held = train[: -(len(train) // HELD) or None], train[-max(1, len(train) // HELD) :]
    all_tokens = sum(train) + sum(held)
    second = counted.plan(options, train, held, len(train))
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


def _pairs(counted: Counted, examples: Sequence[Example]) -> Iterator[int]:
    """Tokens of a request with a right and a rejected answer."""
    for example in _some(pairs_of(examples)):
        before = counted.prompt(example) + counted.answer(example.targets[0])
        yield from (before + counted.answer(rejected) for rejected in example.rejected)


def _thumbs(counted: Counted, examples: Sequence[Example]) -> Iterator[int]:
    """Tokens of a request with one answer, right or rejected."""
    for example in _some(examples):
        prompt = counted.prompt(example)
        yield from (prompt + counted.answer(t) for t in (*example.targets[:1], *example.rejected))


def _some(examples: Sequence[Example]) -> list[Example]:
    return list(examples) if len(examples) <= MOST else random.Random(0).sample(examples, MOST)
