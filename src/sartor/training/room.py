"""How many tokens go through a model at once: fewer, each time memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sartor.errors import ProcessError, TrainingError
from sartor.models.memory import give_back, ran_out
from sartor.progress import say
from sartor.training import lanes
from sartor.training.objective import Item
from sartor.training.packing import packs
from sartor.training.processes import Team, heard

Through = Callable[[list[Item], int | None], float]
"""Puts a pack through; also told its lane, where several go through side by side."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A pack for which there was no memory."""

    pack: list[Item]
    beside: int
    """Packs at once, itself included."""

    @property
    def tokens(self) -> int:
        return self.beside * sum(len(e.tokens) for e in self.pack)


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
            size, is_alone = 0, False
            if failed is not None:
                size, is_alone = failed.tokens, len(failed.pack) == failed.beside == 1
            found = self.team.gather(total, size, is_alone)
            short = [size for _, size, _ in found if size]
            if not short:
                return sum(total for total, _, _ in found)
            if any(alone for _, _, alone in found):
                again()
                raise self._too_large(failed.pack if failed is not None else [])
            self._halve(int(min(short)))

    def _try(self, examples: Sequence[Item], through: Through) -> tuple[float, _Failed | None]:
        """The sum, and a pack that did not fit."""
        divided = lanes.parts(examples, self.threads, self.tokens)
        count = len(divided)
        most = self.pack(self.tokens // count)

        def work(lane: int, stopped: Callable[[], bool]) -> tuple[float, _Failed | None]:
            return self._one_lane(divided[lane], most, through, lane, stopped, count)

        if count == 1:
            return self._one_lane(divided[0], most, through, None, lambda: False, 1)
        found = lanes.run(work, count)
        failed = next((failed for _, failed in found if failed is not None), None)
        return sum(total for total, _ in found), failed

    def _one_lane(
        self, examples: Sequence[Item], most: int, through: Through, lane: int | None,
        stopped: Callable[[], bool], beside: int,
    ) -> tuple[float, _Failed | None]:  # fmt: skip
        total = 0.0
        for pack in self._packs(examples, most):
            if stopped():
                break
            try:
                with heard(self.team.rank):
                    total += through(pack, lane)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                if self.in_step:
                    raise self._out_of_step(pack) from error
                return 0.0, _Failed(pack, beside)
            if total - total != 0:  # no number
                break
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
            f"{self.what}: out of memory with {sum(len(e.tokens) for e in pack):,} tokens at once. "
            f"With sharding that ends the run: set pack_tokens below {self.tokens:,}, or "
            'checkpointing = "on", and start it again.'
        )

    def _too_large(self, failed: Sequence[Item]) -> TrainingError:
        which = "an example of another process"
        if failed:
            which = f"example {failed[0].id}, of {len(failed[0].tokens):,} tokens,"
        return TrainingError(
            f"{self.what}: out of memory: {which} does not fit by itself. Shorten or leave out "
            "such examples, or choose a smaller base or a technique that trains less."
        )
