"""A copy of a base with few of its layers, customized: what that takes (probe.py).

By the technique itself, with the project's own examples: whatever a run does is done here too, by
the same code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sartor.data.records import TrainingData
from sartor.models.language_model import ModelCard
from sartor.progress import shown_by
from sartor.techniques.estimating.arithmetic import MOMENTS
from sartor.techniques.estimating.rehearsal import Rehearsal, adapts
from sartor.techniques.estimating.taken import Stopwatch, clock, counting
from sartor.techniques.technique import Customization
from sartor.training.settings import CHOSEN

UNENDING = 1 << 40
RATE = 1e-5
"""Small, so that random weights stay sound."""
LEAST_LOOK = 0.15
"""Seconds of a token of validation, in parts of a trained one's: noise must not make it nothing."""


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


class Copy:
    """A copy of a base on disk, and a technique told to train for a moment only."""

    def __init__(self, core: Any, card: ModelCard, folder: Path, before: int) -> None:
        self.core = core
        self.before = before
        """Bytes that the process held before anything was tried."""
        self.card = card
        self.folder = folder

    def customized(self, parts: Rehearsal | None, data: TrainingData) -> Customized:
        """Memory first, which warms up what is timed then; `parts` is None where nothing trains."""
        if parts is None:
            made = self.core.fit(self.card, data, self.folder / "made")
            return Customized(made, 0.0, 0.0, 0.0, 0.0, 0.0)
        steps = 1.0 if adapts(self.core) else 2.0  # the optimizer's moments come with the first
        everything = {"batch_size": len(parts.largest.train), "looks": 1, "epochs": steps}
        counted = counting(lambda: self._fit(parts.largest, "made", **everything), self.before)
        tensors = counted.tensors
        if adapts(self.core):  # a second step would take as long as the first
            tensors += MOMENTS * counted.made.trainable_parameters
        preparing, token, look = self._timed(parts)
        return Customized(counted.made, preparing, token, look, tensors, counted.set_aside)

    def _timed(self, parts: Rehearsal) -> tuple[float, float, float]:
        """Seconds of all but steps and looks, of a trained token in the fastest step, since other
        programs on the machine only ever add to them, and of a look at validation."""
        watch, began = Stopwatch(), clock()
        told = {"batch_size": parts.usual_size, "looks": 2, "epochs": 1.0}
        with shown_by(watch):
            self._fit(parts.usual, "timed", **told)
        whole = clock() - began
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
        # what the whole base needs, judged() says
        told |= {n: plenty for n, plenty in CHOSEN.items() if getattr(self.core, n) == "auto"}
        brief = replace(
            self.core, learning_rates=(RATE,), max_tokens=UNENDING, patience=1000, **told
        )
        made: Customization = brief.fit(self.card, data, self.folder / folder)
        return made
