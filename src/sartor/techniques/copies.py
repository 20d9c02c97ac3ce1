"""A copy of a base with few of its layers, customized and asked: what that takes (probe.py).

By the technique itself, with the project's own examples: whatever a run does is done here too, by
the same code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from sartor.data.files import digest
from sartor.data.records import Conversation, TrainingData
from sartor.models import chat, generation, local
from sartor.models.language_model import Completion, ModelCard, Sampling
from sartor.models.local_model import LocalModel
from sartor.models.memory import PeakMemory, give_back, held
from sartor.models.outline import outline
from sartor.models.packed_blocks import ROOM, WASTE
from sartor.models.prefix_tree import leaves
from sartor.progress import Task, shown_by
from sartor.techniques.rehearsal import Rehearsal
from sartor.techniques.technique import Customization
from sartor.techniques.wrapping import innermost

ASKED = 32
"""Requests that are answered together."""
WRITTEN = 8
"""Tokens of each answer that is timed, beside the one that reading a prompt gives."""
COUNTED = 4
"""Tokens of each answer where memory is counted."""
COUNTED_TOKENS, TIMED_TOKENS = 4096, 8192
"""Of prompts that are read where memory is counted, and where time is; what others would hold is
added by their lengths."""
UNENDING = 1 << 40
RATE = 1e-5
"""Small, so that random weights stay sound."""
LEAST_LOOK = 0.15
"""Seconds of a token of validation, in parts of a trained one's: noise must not make it nothing."""
SAMPLED = 0.01
"""Seconds between looks at the process's memory."""


@dataclass(frozen=True, slots=True)
class Customized:
    """What customizing a copy took."""

    made: Customization
    preparing: float
    """Seconds of all but steps and looks at validation."""
    token: float
    """Seconds of a token that is trained on."""
    look: float
    """Seconds of a look at validation."""
    tensors: float
    """Bytes of tensors that were there at once."""
    set_aside: float
    """Bytes that the process grew beside them."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What answering with a copy took."""

    read: float
    """Seconds of a prompt's token."""
    written: float
    """Seconds of an answer's token, of `ASKED` answers that are written together."""
    tensors: float
    set_aside: float


class Copy:
    """A copy of a base on disk, and a technique told to train for a moment only."""

    def __init__(self, core: Any, card: ModelCard, folder: Path) -> None:
        self.core = core
        self.card = card
        self.folder = folder

    def customized(self, parts: Rehearsal | None, data: TrainingData) -> Customized:
        """Memory first, which warms up what is timed then; `parts` is None where nothing trains."""
        if parts is None:
            made = self.core.fit(self.card, data, self.folder / "made")
            return Customized(made, 0.0, 0.0, 0.0, 0.0, 0.0)
        everything = {"batch_size": len(parts.largest.train), "looks": 1, "epochs": 2.0}
        counted = _counting(lambda: self._fit(parts.largest, "made", **everything))
        preparing, token, look = self._timed(parts)
        return Customized(counted.made, preparing, token, look, counted.tensors, counted.set_aside)

    def _timed(self, parts: Rehearsal) -> tuple[float, float, float]:
        """Seconds of all but steps and looks, of a trained token in the fastest step, since other
        programs on the machine only ever add to them, and of a look at validation."""
        watch, began = Stopwatch(), _clock()
        told = {"batch_size": parts.usual_size, "looks": 2, "epochs": 1.0}
        with shown_by(watch):
            self._fit(parts.usual, "timed", **told)
        whole = _clock() - began
        steps, tokens = watch.seconds, parts.usual_tokens
        look_after = -(-len(steps) // 2)  # as training/loop.py has it; the last look ends the run
        plain = [n for n in range(len(steps)) if n != look_after] or [0]
        each = min(steps[n] / tokens[n] for n in plain)
        look = steps[look_after] - each * tokens[look_after] if look_after < len(steps) else 0.0
        # no look takes longer than training on as many tokens, nor less than a part of that
        most, least = each * parts.held_tokens, LEAST_LOOK * each * parts.held_tokens
        preparing = max(0.0, whole - sum(steps) - max(0.0, look))
        return preparing, each, max(least, min(most, look))

    def _fit(self, data: TrainingData, folder: str, **told: Any) -> Customization:
        if self.core.checkpointing == "auto":  # whether the whole base needs it, judged() says
            told["checkpointing"] = "off"
        brief = replace(
            self.core, learning_rates=(RATE,), max_tokens=UNENDING, patience=1000, **told
        )
        made: Customization = brief.fit(self.card, data, self.folder / folder)
        return made

    def loaded(self, made: Customization) -> Loaded:
        """The model that answers."""
        give_back()
        before, began = held(), _clock()
        return Loaded(self.core.load(made), _clock() - began, before)

    def answered(self, loaded: Loaded, prompts: Sequence[Conversation]) -> Answered:
        """Have it answer: memory first, which warms up what is timed then."""
        model = loaded.model
        few, rest = self._longest(model, prompts)
        counted = _counting(lambda: _asked(model, few, COUNTED), loaded.before)
        read, written = _timed(model, prompts)
        return Answered(read, written, counted.tensors + rest, counted.set_aside)

    def _longest(
        self, model: Any, prompts: Sequence[Conversation]
    ) -> tuple[list[Conversation], float]:
        """The longest prompts that are counted with, and the bytes of keys and values that all
        others would add at most; where rows are padded, those follow from no length, and all are
        asked."""
        order = sorted(prompts, key=_characters, reverse=True)[:ASKED]
        if not runs_rows(model):
            return order, 0.0
        tokens = [chat.encode(innermost(model).tokenizer, each) for each in order]
        count, total = 0, 0
        while count < len(order) and (not count or total < COUNTED_TOKENS):
            total += len(tokens[count])
            count += 1
        room = generation.BATCH_TOKENS - computed(tokens[:count])
        more = computed(tokens) - computed(tokens[:count]) + ROOM * (len(order) - count)
        cached = outline(self.card).cached * innermost(model).network.dtype.itemsize
        return order[:count], cached * max(0, min(room, more)) * (1 + WASTE)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that answers."""

    model: Any
    seconds: float
    before: int
    """Bytes that the process held before it was loaded."""


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


@dataclass(frozen=True, slots=True)
class _Counted:
    """What some work gave, and the bytes that it took."""

    made: Any
    tensors: float
    set_aside: float


def _counting(work: Callable[[], Any], before: int | None = None) -> _Counted:
    """`before`: what the process held before what the work uses was there; else now."""
    with PeakMemory(SAMPLED) as memory:
        before = held() if before is None else before
        if local.device().type == "cuda":
            made, tensors = work(), 0
        else:
            from sartor.techniques.allocated import Allocated

            with Allocated() as counted:
                made = work()
            tensors = counted.peak
    if local.device().type == "cuda":
        import torch

        tensors = torch.cuda.max_memory_allocated()
    return _Counted(made, tensors, max(0.0, memory.peak - before - tensors))


def _timed(model: Any, prompts: Sequence[Conversation]) -> tuple[float, float]:
    """Seconds of a token that is read, and of one that is written; it has answered before."""
    inside = innermost(model)
    if not isinstance(inside, LocalModel):
        return _timed_from_outside(model, prompts)
    began = _clock()
    tokens = [chat.encode(inside.tokenizer, each) for each in prompts]
    encoding = (_clock() - began) / sum(map(len, tokens))
    few = [row for n, row in enumerate(tokens) if sum(map(len, tokens[:n])) < TIMED_TOKENS]
    reading, writing, answered = 0.0, list[float](), set[int]()
    began = _clock()
    for step in generation.steps(
        inside.network, few, max_new_tokens=1 + WRITTEN, ends=frozenset(), virtual=inside.virtual
    ):
        took, rows = _clock() - began, {row for row, _ in step.tokens}
        if rows <= answered:
            writing.append(took / len(rows))
        else:
            reading += took
        answered |= rows
        began = _clock()
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
        began = _clock()
        answers = _asked(model, prompts, count)
        seconds[count] = _clock() - began
    read = sum(answer.prompt_tokens for answer in answers)
    written = sum(answer.new_tokens for answer in answers) - len(answers)
    return seconds[1] / max(1, read), max(0.0, seconds[1 + WRITTEN] - seconds[1]) / max(1, written)


def _asked(model: Any, prompts: Sequence[Conversation], count: int) -> list[Completion]:
    found: list[Completion] = model.generate(list(prompts), Sampling(max_new_tokens=count))
    return found


def _characters(conversation: Conversation) -> int:
    return sum(len(message.content) for message in conversation)


class Stopwatch:
    """A reporter that shows nothing, and notes how long each step of a task took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = 0.0

    def start(self, what: str, total: float, unit: str, done: float) -> Stopwatch:
        self._last = _clock()
        return self

    def advance(self, amount: float = 1, note: str = "") -> None:
        now = _clock()
        self.seconds.append(now - self._last)
        self._last = now

    def finish(self, task: Task) -> None:
        pass

    def say(self, message: str) -> None:
        pass


def _is_alone() -> bool:
    """Whether one thread does all the work, so that seconds of the processor are its own."""
    import torch

    return not torch.cuda.is_available() and torch.get_num_threads() == 1


def _clock() -> float:
    """Seconds; of the processor where that is known, so that other programs do not count."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.process_time() if _is_alone() else time.perf_counter()
