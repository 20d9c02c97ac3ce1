"""How many tokens go through a model at once: fewer, each time memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sartor.errors import ProcessError, TrainingError
from sartor.models.memory import give_back, ran_out
from sartor.progress import say
from sartor.training.objective import Item
from sartor.training.packing import packs
from sartor.training.processes import Team, heard


class Room:
    """Puts examples through in packs that fit; all of a team's processes use the same size."""

    def __init__(
        self, tokens: int, what: str, team: Team, *, shared: bool = False, in_step: bool = False
    ) -> None:
        self.tokens = tokens
        self.shared = shared
        self.in_step = in_step
        """Whether all processes must put through equally many packs: then some are empty."""
        self.what = what
        self.team = team

    def put(
        self,
        examples: Sequence[Item],
        through: Callable[[list[Item]], float],
        again: Callable[[], object],
    ) -> float:
        """Sum of what `through` gives for every pack, over the whole team.

        A sum that is no number ends it early. Where memory runs out `again` clears what was done,
        and all of it is done anew in packs of half the size, which changes no result. Raises
        TrainingError naming the example where one alone does not fit; ProcessError where memory
        runs out and processes go in step: none can stop while the others wait for it.
        """
        while True:
            again()
            total, failed = self._try(examples, through)
            found = self.team.gather(total, sum(len(e.tokens) for e in failed), len(failed) == 1)
            short = [size for _, size, _ in found if size]
            if not short:
                return sum(total for total, _, _ in found)
            if any(alone for _, _, alone in found):
                again()
                raise self._too_large(failed)
            self._halve(int(min(short)))

    def _try(
        self, examples: Sequence[Item], through: Callable[[list[Item]], float]
    ) -> tuple[float, list[Item]]:
        """The sum, and the pack that did not fit."""
        total = 0.0
        for pack in self._packs(examples):
            try:
                with heard(self.team.rank):
                    total += through(pack)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                if self.in_step:
                    raise self._out_of_step(pack) from error
                return 0.0, pack
            if total - total != 0:  # no number
                break
        return total, []

    def _packs(self, examples: Sequence[Item]) -> list[list[Item]]:
        found = list(packs(examples, self.tokens, shared=self.shared))
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
