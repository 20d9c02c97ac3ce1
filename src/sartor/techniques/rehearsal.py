"""The examples that a probe trains and asks on: those that training will meet, and its largest.

Training's steps are known beforehand: their order follows from the seed (training/order.py), and
what a step puts through the model at once from the lengths and from what examples share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sartor.data.records import Example, TrainingData
from sartor.models.language_model import ModelCard
from sartor.progress import Silent, shown_by
from sartor.techniques.drawn import Drawn
from sartor.training.loop import VALIDATION_EXAMPLES, TrainingSettings
from sartor.training.order import alike, shuffled
from sartor.training.packing import Encoded, encode, packs
from sartor.training.sharing import laid_out

MOST = 600
"""Examples that are looked at; the rest are taken to be like them."""
STEPS = 4
"""Of the kind that most are, to be timed."""


@dataclass(frozen=True)
class Rehearsal:
    """Parts of the training data, put as the technique will put them."""

    usual: TrainingData
    """Whole steps of the usual kind, and a pack of validation."""
    largest: TrainingData
    """The step that needs the most memory, and the largest pack of validation."""
    usual_tokens: tuple[int, ...]
    """Of every step of `usual`."""
    held_tokens: int
    """Of the validation examples in both."""
    step_tokens: float
    """Of a step, the mean over a pass."""
    watched_tokens: int
    """Of all validation examples that the loss is watched on."""


def rehearsal(
    drawn: Drawn, options: TrainingSettings, data: TrainingData, tokenizer: Any, card: ModelCard
) -> Rehearsal:
    """Choose the examples."""
    room = card.context - drawn.virtual
    train = [drawn.put(example) for example in data.train[:MOST]]
    held = sorted(data.validation, key=lambda e: e.id)[:VALIDATION_EXAMPLES]
    held = [drawn.put(example) for example in held]
    with shown_by(Silent()):
        encoded, watched = encode(tokenizer, train, room), encode(tokenizer, held, room)
    steps = _steps(encoded, options)
    whole = [step for step in steps if len(step) == options.batch_size] or steps
    largest = max(steps, key=lambda step: _row(step, options, drawn.virtual))
    mean = sum(len(e.tokens) for e in encoded) / len(encoded)
    expected = mean * min(options.batch_size, len(encoded))
    usual = sorted(whole, key=lambda step: abs(_tokens(step) - expected))[:STEPS]
    pack = _largest_pack(watched, options)
    by_id = {example.id: example for example in (*train, *held)}

    def those(examples: Sequence[Encoded]) -> tuple[Example, ...]:
        return tuple(by_id[example.id] for example in examples)

    flat = [example for step in usual for example in step]
    return Rehearsal(
        usual=replace(data, train=those(flat), validation=those(pack)),
        largest=replace(data, train=those(largest), validation=those(pack)),
        usual_tokens=tuple(_tokens(step) for step in _steps(_again(flat), options)),
        held_tokens=_tokens(pack),
        step_tokens=expected,
        watched_tokens=_tokens(watched),
    )


def _again(examples: Sequence[Encoded]) -> list[Encoded]:
    """Those examples once, in their order."""
    return list({example.id: example for example in examples}.values())


def _steps(encoded: list[Encoded], options: TrainingSettings) -> list[list[Encoded]]:
    """One pass over the examples, as training/loop.py divides it."""
    order = shuffled(alike(encoded), options.together, f"{options.seed}:0")
    size = options.batch_size
    cuts = range(0, len(order), size)
    return [[encoded[place] for place in order[start : start + size]] for start in cuts]


def _row(step: Sequence[Encoded], options: TrainingSettings, virtual: int) -> int:
    """Tokens that go through the model at once, at most."""
    ordered = sorted(step, key=lambda e: len(e.tokens))
    rows = [laid_out(pack, virtual) for pack in packs(ordered, options.pack_tokens)]
    return max(row.spans[-1].end for row in rows)


def _largest_pack(watched: list[Encoded], options: TrainingSettings) -> list[Encoded]:
    ordered = sorted(watched, key=lambda e: len(e.tokens))
    return max(packs(ordered, options.pack_tokens), key=_tokens)


def _tokens(examples: Sequence[Encoded]) -> int:
    return sum(len(example.tokens) for example in examples)
