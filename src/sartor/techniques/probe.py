"""A technique tried on this machine for some seconds: time and memory, before weights are needed.

Copies of the base with few of its layers (thin.py) are customized by the technique
itself and asked, with the project's own examples (rehearsal.py): whatever a run does is done here
too, by the same code. What more layers add, times the layers, is the whole.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sartor.data.records import Conversation, TrainingData
from sartor.models import local
from sartor.models.language_model import Completion, ModelCard, Sampling
from sartor.models.memory import PeakMemory
from sartor.models.outline import configuration
from sartor.progress import Silent, Task, shown_by
from sartor.techniques.drawn import Drawn
from sartor.techniques.rehearsal import Rehearsal, rehearsal
from sartor.techniques.technique import Customization
from sartor.techniques.thin import ByLayers, counts, layers_changed, refuse_unlike, thin
from sartor.techniques.wrapping import innermost
from sartor.training.loop import TrainingSettings

ASKED = 32
"""Requests that are answered together."""
WRITTEN = 16
"""Tokens of each answer that is timed, beside the one that reading a prompt gives."""
COUNTED = 4
"""The same where memory is counted."""
UNENDING = 1 << 40
RATE = 1e-5
"""Small, so that random weights stay sound."""
ROUNDS = 2
"""Short trainings of a copy; the faster of them counts."""
LEAST_LOOK = 0.15
"""Seconds of a token of validation, in parts of a trained one's: noise must not make it nothing."""
SAMPLED = 0.01
"""Seconds between looks at the process's memory."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What a technique takes on a base, on this machine; without searching, which needs no base."""

    seconds_to_prepare: float
    """Loading, setting up, and writing what was trained."""
    seconds_a_token: float
    """Trained on, forward and back; its part of the optimizer's step included."""
    seconds_a_look: float
    """At `held_tokens` of validation, forward only, and to write the state down."""
    held_tokens: int
    seconds_a_prompt_token: float
    seconds_a_new_token: float
    """Of `ASKED` answers that are written together, all of them counted."""
    customizing_bytes: float
    """Tensors that are there at once while training, at most."""
    answering_bytes: float
    """The same while answering, with so many new tokens as `COUNTED` says."""
    set_aside_bytes: float
    """What the process took beside tensors while these were tried: libraries' own buffers, and
    memory that is free but scattered."""


def probe(
    technique: Any, card: ModelCard, data: TrainingData, drawn: Drawn, tokenizer: Any,
    prompts: Sequence[Conversation],
) -> Probed:  # fmt: skip
    """Try the innermost technique; `prompts` are requests as they will be put to it.

    Raises ValueError where copies of few layers say nothing about the base, and whatever the
    technique raises where it cannot work on it.
    """
    refuse_unlike(card)
    core = innermost(technique)
    trains = isinstance(core, TrainingSettings)
    parts = rehearsal(drawn, core, data, tokenizer, card) if trains else None
    layers, changed = configuration(card).num_hidden_layers, layers_changed(core)
    few, more = counts(layers)
    with tempfile.TemporaryDirectory() as folder, shown_by(Silent()):
        seen = [
            _Copy(core, card, Path(folder), count, upper).seen(parts, data, prompts)
            for count, upper in ((few, few), (more, more), *([(more, few)] if changed else []))
        ]

    def whole(of: Callable[[_Seen], float]) -> float:
        return ByLayers((few, more), *map(of, seen)).of(layers, changed)

    return Probed(
        seconds_to_prepare=whole(lambda one: one.preparing),
        seconds_a_token=whole(lambda one: one.token),
        seconds_a_look=whole(lambda one: one.look),
        held_tokens=parts.held_tokens if parts else 0,
        seconds_a_prompt_token=whole(lambda one: one.read),
        seconds_a_new_token=whole(lambda one: one.written),
        customizing_bytes=whole(lambda one: one.customizing),
        answering_bytes=whole(lambda one: one.answering),
        set_aside_bytes=max(one.set_aside for one in seen),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of one copy."""

    preparing: float
    token: float
    look: float
    read: float
    written: float
    customizing: float
    answering: float
    set_aside: float


class _Copy:
    """A copy of the base, and the technique told to train for a moment only."""

    def __init__(self, core: Any, card: ModelCard, folder: Path, layers: int, changed: int) -> None:
        self.folder = folder / f"{layers}-{changed}"
        self.card = thin(card, layers, self.folder / "base")
        limited = {"upper_layers": changed} if layers_changed(core) else {}
        self.core = replace(core, **limited) if limited else core

    def seen(
        self, parts: Rehearsal | None, data: TrainingData, prompts: Sequence[Conversation]
    ) -> _Seen:
        preparing = token = look = 0.0
        if parts is None:
            made = self.core.fit(self.card, data, self.folder / "made")
            customizing, aside = 0.0, 0.0
        else:
            preparing, token, look = self._timed(parts)
            made, customizing, aside = self._counted(parts)
        longest = sorted(prompts, key=_characters)[-ASKED:]
        began = _clock()
        model = self.core.load(made)
        preparing += _clock() - began
        read, written = _answered(model, prompts)
        _, answering, other = _counting(lambda: _asked(self.core.load(made), longest, COUNTED))
        return _Seen(
            preparing, token, look, read, written, customizing, answering, max(aside, other)
        )

    def _timed(self, parts: Rehearsal) -> tuple[float, float, float]:
        """Seconds of all but steps and looks, of a trained token, and of a look at validation; the
        least of some rounds, since other programs on the machine only ever add to them."""
        rounds = [self._round(parts, n) for n in range(ROUNDS)]
        token = min(token for _, token, _ in rounds)
        # no look takes longer than training on as many tokens, nor less than a part of that
        most, least = token * parts.held_tokens, LEAST_LOOK * token * parts.held_tokens
        look = max(least, min(most, *(look for _, _, look in rounds)))
        return min(preparing for preparing, _, _ in rounds), token, look

    def _round(self, parts: Rehearsal, number: int) -> tuple[float, float, float]:
        watch, began = Stopwatch(), _clock()
        told = {"batch_size": self.core.batch_size, "looks": 2, "epochs": 1.0}
        with shown_by(watch):
            self._fit(parts.usual, f"timed-{number}", **told)
        whole = _clock() - began
        steps, tokens = watch.seconds, parts.usual_tokens
        look_after = -(-len(steps) // 2)  # as training/loop.py has it; the last look ends the run
        plain = [n for n in range(len(steps)) if n not in (0, look_after)] or [0]
        each = min(steps[n] / tokens[n] for n in plain)
        look = steps[look_after] - each * tokens[look_after] if look_after < len(steps) else 0.0
        return max(0.0, whole - sum(steps) - look), each, max(0.0, look)

    def _counted(self, parts: Rehearsal) -> tuple[Customization, float, float]:
        """What was made, the bytes of tensors that took, and of what lay beside them."""
        everything = {"batch_size": len(parts.largest.train), "looks": 1, "epochs": 2.0}
        return _counting(lambda: self._fit(parts.largest, "made", **everything))

    def _fit(self, data: TrainingData, folder: str, **told: Any) -> Customization:
        brief = replace(
            self.core, learning_rates=(RATE,), max_tokens=UNENDING, patience=1000, **told
        )
        made: Customization = brief.fit(self.card, data, self.folder / folder)
        return made


def _counting(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `work` gives, the most bytes of tensors, and how much more the process grew."""
    import psutil

    with PeakMemory(SAMPLED) as memory:
        before = psutil.Process().memory_info().rss
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
    return made, tensors, max(0.0, memory.peak - before - tensors)


def _answered(model: Any, prompts: Sequence[Conversation]) -> tuple[float, float]:
    """Seconds of a token that is read, and of one that is written; the least of some rounds."""
    _asked(model, prompts[:1], 2)  # warms up
    seconds = dict.fromkeys((1, 1 + WRITTEN), math.inf)
    for _ in range(ROUNDS):
        for count in seconds:
            began = _clock()
            answers = _asked(model, prompts, count)
            seconds[count] = min(seconds[count], _clock() - began)
    read = sum(answer.prompt_tokens for answer in answers)
    written = sum(answer.new_tokens for answer in answers) - len(answers)
    return seconds[1] / read, max(0.0, seconds[1 + WRITTEN] - seconds[1]) / max(1, written)


def _characters(conversation: Conversation) -> int:
    return sum(len(message.content) for message in conversation)


def _asked(model: Any, prompts: Sequence[Conversation], count: int) -> list[Completion]:
    found: list[Completion] = model.generate(list(prompts), Sampling(max_new_tokens=count))
    return found


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


def _clock() -> float:
    """Seconds; of the processor where one thread does all the work, so that other programs on the
    machine do not count."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()
