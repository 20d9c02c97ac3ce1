"""A copy of a base with few of its layers, asked: what answering takes (probe.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sartor.data.files import digest
from sartor.data.records import Conversation
from sartor.models import chat, generation
from sartor.models.language_model import Completion, ModelCard, Sampling
from sartor.models.local_model import LocalModel
from sartor.models.memory import give_back
from sartor.models.outline import outline
from sartor.models.packed_blocks import ROOM, WASTE
from sartor.models.prefix_tree import leaves
from sartor.techniques.estimating.taken import clock, counting
from sartor.techniques.technique import Customization
from sartor.techniques.wrapping import innermost

ASKED = 32
"""Requests that are answered together."""
WRITTEN = 8
"""Tokens of each answer that is timed, beside the one that reading a prompt gives."""
COUNTED = 4
"""Tokens of each answer where memory is counted."""
COUNTED_TOKENS, TIMED_TOKENS = 4096, 4096
"""Of prompts that are read where memory is counted, and where time is; what others would hold is
added by their lengths."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What answering with a copy took."""

    read: float
    """Seconds of a prompt's token."""
    written: float
    """Seconds of an answer's token, of `ASKED` answers that are written together."""
    tensors: float
    set_aside: float
    kept: float
    """Bytes of all keys and values while answers are written, in rows without padding."""
    laid_out: float
    """Bytes of weights that many answers have laid out anew, which so few do not."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that answers."""

    model: Any
    seconds: float
    before: int
    """Bytes that the process held before anything was tried."""


def loaded(core: Any, made: Customization, before: int) -> Loaded:
    """The model of the technique `core` that answers."""
    give_back()
    began = clock()
    return Loaded(core.load(made), clock() - began, before)


def answered(card: ModelCard, loaded: Loaded, prompts: Sequence[Conversation]) -> Answered:
    """Have it answer: memory first, which warms up what is timed then."""
    model = loaded.model
    few, rest, kept = _longest(card, model, prompts)
    counted = counting(lambda: _asked(model, few, COUNTED), loaded.before)
    read, written = _timed(model, prompts)
    return Answered(
        read, written, counted.tensors + rest, counted.set_aside, kept, _laid_out_bytes(model)
    )


def _laid_out_bytes(model: Any) -> int:
    from sartor.models.products import Products

    return Products(innermost(model).network).nbytes if runs_rows(model) else 0


def laid_out(whole: float, together: int, new_tokens: int) -> float:
    """Bytes of a network's weights that so many answers have once more, of `whole` that could be:
    none for few answers, and none where they are many (models/products.py)."""
    from sartor.models.packed_generation import WORTH_PACKING
    from sartor.models.products import PACKED_BYTES

    rows, tokens = WORTH_PACKING
    worth = together >= rows and together * new_tokens >= tokens
    return whole if worth and whole <= PACKED_BYTES else 0.0


def _longest(
    card: ModelCard, model: Any, prompts: Sequence[Conversation]
) -> tuple[list[Conversation], float, float]:
    """The longest prompts that are counted with, the bytes of keys and values that all others
    would add at most, and those of all while answers are written, in blocks half as full of padding
    as they may be; where rows are padded, both follow from no length, and all are asked."""
    order = sorted(prompts, key=_characters, reverse=True)[:ASKED]
    if not runs_rows(model):
        return order, 0.0, 0.0
    tokens = [chat.encode(innermost(model).tokenizer, each) for each in order]
    count, total = 0, 0
    while count < len(order) and (not count or total < COUNTED_TOKENS):
        total += len(tokens[count])
        count += 1
    whole, part = computed(tokens), computed(tokens[:count])
    more = min(generation.BATCH_TOKENS - part, whole - part + ROOM * (len(order) - count))
    held = min(generation.BATCH_TOKENS, whole + ROOM * len(order))
    cached = outline(card).cached * innermost(model).network.dtype.itemsize
    return order[:count], cached * max(0, more) * (1 + WASTE), cached * held * (1 + WASTE / 2)


def described(model: Any) -> str:
    """What decides how fast a model answers and what it holds then; empty where that is unknown."""
    inside = innermost(model)
    if not isinstance(inside, LocalModel):
        return ""
    virtual = inside.virtual
    before = "" if virtual is None else f"{type(virtual).__name__} {len(virtual)}"
    network = inside.network
    sizes = sum(parameter.numel() for parameter in network.parameters())
    return digest(type(network).__name__, str(network.dtype), sizes, before)


def runs_rows(model: Any) -> bool:
    """Whether it reads prompts without padding, so that each token takes room of its own alone."""
    from sartor.models import packed_forward

    inside = innermost(model)
    return isinstance(inside, LocalModel) and (
        not generation.must_go_alone(inside.network, inside.virtual)
        and packed_forward.runs_rows(inside.network, inside.virtual)
    )


def computed(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens of prompts that are read, what several begin with once."""
    made = leaves(prompts)
    nodes = {id(node): len(node) for leaf in made for node in leaf.before}
    return sum(map(len, made)) + sum(nodes.values())


def _timed(model: Any, prompts: Sequence[Conversation]) -> tuple[float, float]:
    """Seconds of a token that is read, and of one that is written; it has answered before."""
    inside = innermost(model)
    if not isinstance(inside, LocalModel):
        return _timed_from_outside(model, prompts)
    began = clock()
    tokens = [chat.encode(inside.tokenizer, each) for each in prompts]
    encoding = (clock() - began) / sum(map(len, tokens))
    few = [row for n, row in enumerate(tokens) if sum(map(len, tokens[:n])) < TIMED_TOKENS]
    reading, writing, answered = 0.0, list[float](), set[int]()
    began = clock()
    for step in generation.steps(
        inside.network, few, max_new_tokens=1 + WRITTEN, ends=frozenset(), virtual=inside.virtual
    ):
        took, rows = clock() - began, {row for row, _ in step.tokens}
        if rows <= answered:
            writing.append(took / len(rows))
        else:
            reading += took
        answered |= rows
        began = clock()
    before = 0 if inside.virtual is None else len(inside.virtual)
    whole = sum(map(len, tokens)) + before * len(tokens)
    if runs_rows(model):  # what prompts begin with is read once for all that are asked together
        part = (computed(tokens) + before) / (computed(few) + before)
    else:
        part = whole / (sum(map(len, few)) + before * len(few))
    return reading * part / whole + encoding, median(writing)


def _timed_from_outside(model: Any, prompts: Sequence[Conversation]) -> tuple[float, float]:
    """Of a model that is not ours: by answers of two lengths."""
    seconds = {}
    for count in (1, 1 + WRITTEN):
        began = clock()
        answers = _asked(model, prompts, count)
        seconds[count] = clock() - began
    read = sum(answer.prompt_tokens for answer in answers)
    written = sum(answer.new_tokens for answer in answers) - len(answers)
    return seconds[1] / max(1, read), max(0.0, seconds[1 + WRITTEN] - seconds[1]) / max(1, written)


def _asked(model: Any, prompts: Sequence[Conversation], count: int) -> list[Completion]:
    found: list[Completion] = model.generate(list(prompts), Sampling(max_new_tokens=count))
    return found


def _characters(conversation: Conversation) -> int:
    return sum(len(message.content) for message in conversation)
