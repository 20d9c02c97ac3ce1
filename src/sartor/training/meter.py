"""What a training tells of itself while it goes on: in the terminal, and to trackers."""

from __future__ import annotations

import time
from collections import deque

from sartor.models.memory import held
from sartor.tracking.tracker import record
from sartor.training.state import State

STEPS = 20
"""Over which the tokens a second are counted."""


class Meter:
    """Loss, speed and memory of one phase."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.note = ""
        self._steps: deque[tuple[float, int]] = deque([(time.perf_counter(), 0)], maxlen=STEPS + 1)

    def step(self, state: State, tokens: int, loss: float, norm: float, rate: float) -> None:
        """A step was made on so many tokens."""
        self._steps.append((time.perf_counter(), tokens))
        speed = self.tokens_per_second
        self.note = f"loss {loss:.3f} · {speed:,.0f} tokens/s · {held() / 1e9:.1f} GB"
        figures = {"loss": loss, "learning_rate": rate, "gradient_norm": norm}
        record(self.phase, state.step + 1, {**figures, "tokens_per_second": speed})

    def look(self, state: State) -> None:
        """A look was taken, which is no part of the speed."""
        step, _, loss = state.curve[-1]
        record(self.phase, step, {"validation_loss": loss})
        self._steps.clear()
        self._steps.append((time.perf_counter(), 0))

    @property
    def tokens_per_second(self) -> float:
        """Of the last steps."""
        (first, _), *later = self._steps
        return sum(tokens for _, tokens in later) / (self._steps[-1][0] - first)
