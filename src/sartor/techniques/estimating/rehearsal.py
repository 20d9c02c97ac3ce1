"""The examples that a probe trains and asks on: those that training will meet, and its largest.

Training's steps are known beforehand: their order follows from the seed (training/order.py), and
what a step puts through the model at once from the lengths and from what examples share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sartor.data.files import digest
from sartor.data.records import Example, TrainingData
from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.models.outline import outline
from sartor.progress import Silent, shown_by
from sartor.techniques.estimating.drawn import Drawn
from sartor.training.lanes import parts
from sartor.training.loop import VALIDATION_EXAMPLES, TrainingSettings
from sartor.training.order import alike, shuffled
from sartor.training.pack_size import FEWEST, together
from sartor.training.packing import Encoded, encode, packs
from sartor.training.sharing import laid_out

MOST = 600
"""Examples that are looked at; the rest are taken to be like them."""
WATCHED = 512
"""Tokens of validation that are looked at to time it."""
STEPS = 4
"""Of the kind that most are, to be timed."""


@dataclass(frozen=True)
class Rehearsal:
    """Parts of the training data, put as the technique will put them."""

    key: str
    """A digest of all examples that are chosen."""
    usual: TrainingData
    """Steps of the usual kind, and a pack of validation. Where an adapter is trained, of each step
    as much as goes through at once: nothing else in it takes time."""
    largest: TrainingData
    """What needs the most memory: of an adapter the largest pack, else the step with that pack in
    it; and one validation example, which needs less."""
    usual_size: int
    """Examples of each step of `usual`."""
    usual_tokens: tuple[int, ...]
    """Of every step of `usual`."""
    held_tokens: int
    """Of the validation examples in `usual`."""


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
    steps = _steps(encoded, options, options.batch_size)
    whole = [step for step in steps if len(step) == options.batch_size] or steps
    largest = max(steps, key=lambda step: _row(step, options.pack_size, drawn.virtual))
    mean = sum(len(e.tokens) for e in encoded) / len(encoded)
    expected = mean * min(options.batch_size, len(encoded))
    usual = sorted(whole, key=lambda step: abs(_tokens(step) - expected))[:STEPS]
    if adapts(options):
        usual = [_at_once(step, options, card) for step in usual]
        largest = _largest_pack(largest, options.pack_size)
    size = min(map(len, usual))
    flat = _again([example for step in usual for example in step[-size:]])
    pack = _largest_pack(watched, min(WATCHED, options.pack_size))
    by_id = {example.id: example for example in (*train, *held)}

    def those(examples: Sequence[Encoded]) -> tuple[Example, ...]:
        return tuple(by_id[example.id] for example in examples)

    return Rehearsal(
        key=digest(flat, largest, pack),
        usual=replace(data, train=those(flat), validation=those(pack)),
        largest=replace(data, train=those(largest), validation=those(pack[:1])),
        usual_size=size,
        usual_tokens=tuple(_tokens(step) for step in _steps(flat, options, size)),
        held_tokens=_tokens(pack),
    )


def adapts(options: TrainingSettings) -> bool:
    """Whether what it trains is few values, whose gradients and optimizer take next to nothing."""
    return hasattr(options, "trainable") or hasattr(options, "target_modules")


def _at_once(
    step: Sequence[Encoded], options: TrainingSettings, card: ModelCard
) -> list[Encoded]:  # fmt: skip
    """Of a step what goes through the base at once: the largest pack, or those of all lanes that go
    side by side (training/lanes.py)."""
    import torch

    if local.device().type != "cpu":
        return _largest_pack(step, options.pack_size)
    divided = parts(step, torch.get_num_threads(), options.pack_size)
    most = together(options.pack_size // len(divided), outline(card).hidden)
    chosen = [example for part in divided for example in _largest_pack(part, most)]
    if len(divided) > 1 and len(chosen) < FEWEST * len(divided):  # too few to be divided again
        return list(step)
    return sorted(chosen, key=lambda e: len(e.tokens))


def _again(examples: Sequence[Encoded]) -> list[Encoded]:
    """Those examples once, in their order."""
    return list({example.id: example for example in examples}.values())


def _steps(encoded: list[Encoded], options: TrainingSettings, size: int) -> list[list[Encoded]]:
    """One pass over the examples, as training/loop.py divides it, so many examples a step."""
    order = shuffled(alike(encoded), options.together, f"{options.seed}:0")
    cuts = range(0, len(order), size)
    return [[encoded[place] for place in order[start : start + size]] for start in cuts]


def _row(step: Sequence[Encoded], at_once: int, virtual: int) -> int:
    """Tokens that go through the model at once, at most."""
    rows = [laid_out(pack, virtual) for pack in _packs(step, at_once)]
    return max(row.spans[-1].end for row in rows)


def _packs(examples: Sequence[Encoded], at_once: int) -> list[list[Encoded]]:
    ordered = sorted(examples, key=lambda e: len(e.tokens))
    return list(packs(ordered, at_once, shared=True))


def _largest_pack(examples: Sequence[Encoded], at_once: int) -> list[Encoded]:
    return max(_packs(examples, at_once), key=_tokens)


def _tokens(examples: Sequence[Encoded]) -> int:
    return sum(len(example.tokens) for example in examples)
