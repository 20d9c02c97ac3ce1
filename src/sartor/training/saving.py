"""When the state of a training is written: at looks, and now and then between two.

What is written, and how, is state.py's business. Of a team the leader writes; all take part, since
each may hold a part of the values.
"""

from __future__ import annotations

import time
from pathlib import Path

from sartor.training import state as kept
from sartor.training.processes import Team
from sartor.training.state import RECENT, STATE, State, Values


class Saving:
    """Of one training, in its folder."""

    def __init__(self, directory: Path, values: Values, team: Team, every: float) -> None:
        self.directory = directory
        self.values = values
        self.team = team
        self.every = every
        """Seconds between two looks after which the state is written."""
        self._last = time.monotonic()

    @property
    def latest(self) -> Path:
        """Where to go on from; nothing may be there."""
        return kept.latest(self.directory)

    def last_look(self) -> Path:
        """Where to go back to; what was written since is dropped."""
        self._drop_recent()
        return self.directory / STATE

    def restore(self, path: Path, made_of: str, phase: str | None) -> State | None:
        """Put back what was written there, if it is of that training (and phase)."""
        return kept.restore(path, made_of, phase, self.values, self.team)

    def at_look(self, state: State) -> None:
        """All wait until it is written."""
        tensors = self.values.gathered()
        self.team.led(lambda: kept.save(self.directory / STATE, state, tensors))
        self._drop_recent()
        self._last = time.monotonic()

    def now_and_then(self, state: State, *, doubtful: bool, in_step: bool) -> None:
        """When it is time, so that a long way to the next look is not lost; never a doubtful state.
        A team that is `in_step` goes by the leader's clock."""
        due = time.monotonic() - self._last >= self.every
        if in_step:
            due = bool(self.team.gather(float(due))[0][0])
        elif not self.team.leads:
            return
        if due and not doubtful:
            tensors = self.values.gathered()
            if self.team.leads:
                kept.save(self.directory / RECENT, state, tensors)
            self._last = time.monotonic()

    def _drop_recent(self) -> None:
        (self.directory / RECENT).unlink(missing_ok=True)
