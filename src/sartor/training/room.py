"""How many tokens go through a model at once: fewer, each time memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

from sartor.errors import ProcessError, TrainingError
from sartor.models.memory import give_back, ran_out
from sartor.progress import say
from sartor.training import lanes, threads
from sartor.training.objective import Item
from sartor.training.packing import packs
from sartor.training.processes import Team, heard

Through = Callable[[list[Item], int | None], float]
"""Puts a pack through; also told its lane, where several go through side by side."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """There was no memory."""

    tokens: int
    """That went through at once, at most."""
    alone: Item | None
    """The example, where it was one and nothing went through beside it."""


class Room:
    """Puts examples through in packs that fit; all of a team's processes use the same size."""

    def __init__(
        self, tokens: int, what: str, team: Team, *, shared: bool = False, in_step: bool = False,
        pack: Callable[[int], int] = int, threads: int = 1,
    ) -> None:  # fmt: skip
        self.tokens = tokens
        """At once, in all."""
        self.pack = pack
        """Tokens of a pack, of as many as there is room for."""
        self.threads = threads
        """For packs that go through side by side."""
        self.shared = shared
        self.in_step = in_step
        """Whether all processes must put through equally many packs: then some are empty."""
        self.what = what
        self.team = team

    def put(self, examples: Sequence[Item], through: Through, again: Callable[[], object]) -> float:
        """Sum of what `through` gives for every pack, over the whole team.

        A sum that is no number ends it early. Where memory runs out `again` clears what was done,
        and all of it is done anew in packs of half the size, which changes no result. Raises
        TrainingError naming the example where one alone does not fit; ProcessError where memory
        runs out and processes go in step: none can stop while the others wait for it.
        """
        while True:
            again()
            total, failed = self._try(examples, through)
            size, alone = (failed.tokens, failed.alone) if failed is not None else (0, None)
            found = self.team.gather(total, size, alone is not None)
            short = [size for _, size, _ in found if size]
            if not short:
                return sum(total for total, _, _ in found)
            if any(single for _, _, single in found):
                again()
                raise self._too_large(alone)
            self._halve(int(min(short)))

    def _try(self, examples: Sequence[Item], through: Through) -> tuple[float, _Failed | None]:
        """The sum, and whether memory ran out."""
        divided = lanes.parts(examples, self.threads, self.tokens)
        most = self.pack(self.tokens // len(divided))
        waiting = [self._packs(part, most) for part in divided]
        if len(waiting) == 1:
            total, failed = self._one_lane(waiting[0], through, None, Event())
            if failed is None:
                return total, None
            return 0.0, _Failed(_tokens(failed), failed[0] if len(failed) == 1 else None)
        found = threads.run(
            lambda n, stop: self._one_lane(waiting[n], through, n, stop), len(waiting)
        )
        if all(failed is None for _, failed in found):
            return sum(total for total, _ in found), None
        return 0.0, _Failed(sum(max(map(_tokens, some)) for some in waiting), None)

    def _one_lane(
        self, waiting: Sequence[list[Item]], through: Through, lane: int | None, stop: Event
    ) -> tuple[float, list[Item] | None]:
        """The sum of these packs, and the one that did not fit; others need not go on where the
        whole is no number, or must be done anew."""
        total = 0.0
        for pack in waiting:
            if stop.is_set():
                break
            try:
                with heard(self.team.rank):
                    total += through(pack, lane)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                if self.in_step:
                    raise self._out_of_step(pack) from error
                stop.set()
                return 0.0, pack
            if total - total != 0:  # no number
                stop.set()
        return total, None

    def _packs(self, examples: Sequence[Item], most: int) -> list[list[Item]]:
        found = list(packs(examples, most, shared=self.shared))
        if not self.in_step:
            return found
        most = int(max(count for (count,) in self.team.gather(len(found))))
        return found + [[] for _ in range(most - len(found))]

    def _halve(self, failed: int) -> None:
        before, self.tokens = self.tokens, max(1, min(self.tokens, failed) // 2)
        give_back()
        say(
            f"{self.what}: out of memory with {failed:,} tokens at once: pack_tokens is "
            f"{self.tokens:,} from here on, not {before:,}. The result is the same"
        )

    def _out_of_step(self, pack: Sequence[Item]) -> ProcessError:
        return ProcessError(
            f"{self.what}: out of memory with {_tokens(pack):,} tokens at once. "
            f"With sharding that ends the run: set pack_tokens below {self.tokens:,}, or "
            'checkpointing = "on", and start it again.'
        )

    def _too_large(self, failed: Item | None) -> TrainingError:
        which = "an example of another process"
        if failed is not None:
            which = f"example {failed.id}, of {len(failed.tokens):,} tokens,"
        return TrainingError(
            f"{self.what}: out of memory: {which} does not fit by itself. Shorten or leave out "
            "such examples, or choose a smaller base or a technique that trains less."
        )


def _tokens(pack: Sequence[Item]) -> int:
    return sum(len(example.tokens) for example in pack)
