"""What goes through the model: a step's gradients, the loss on validation, examples one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sartor.training.gradients import Gradients
from sartor.training.lanes import threads_for
from sartor.training.objective import Item, Reading
from sartor.training.optimizer import clip
from sartor.training.packed_attention import is_packed
from sartor.training.packing import at_once, make_room
from sartor.training.processes import Team
from sartor.training.room import Room, Through
from sartor.training.settings import TrainingSettings
from sartor.training.sharding import end, is_sharded
from sartor.training.state import State, Values
from sartor.training.trainable import Trainable

if TYPE_CHECKING:
    import torch


class Passes:
    """Forward and backward, over all of a team's processes, in packs that fit into memory."""

    def __init__(
        self, trainable: Trainable, reading: Reading, options: TrainingSettings, what: str,
        team: Team,
    ) -> None:  # fmt: skip
        self.trainable = trainable
        self.reading = reading
        self.options = options
        self.team = team
        self.in_step = is_sharded(trainable.network)
        self.room = Room(
            options.pack_size, what, team,
            shared=is_packed(trainable.network), in_step=self.in_step,
            pack=partial(at_once, trainable.network),
            threads=1 if self.in_step else threads_for(trainable),
        )  # fmt: skip

    def gradients(self, batch: Sequence[Item], state: State, values: Values) -> tuple[float, float]:
        """Leave the batch's gradient, clipped; (loss, norm before), the loss perhaps no number.

        The same in every process of a team.
        """
        import torch

        counted = self.trainable.counted(batch)
        self.trainable.network.train()
        # Dropout is the same after a resume; each process draws its own.
        seed = self.options.seed * 1_000_003 + state.step + 7_919 * self.team.rank
        torch.manual_seed(seed)
        self._begin(batch)

        parameters = list(values.now.values())
        by_lane: dict[int, Gradients] = {}

        def afresh() -> None:
            values.clear()
            by_lane.clear()
            torch.manual_seed(seed)

        def through(pack: list[Item], lane: int | None) -> float:
            make_room(self.trainable.network)
            loss = self._loss(pack, batch)
            value = self._agreed(loss.item())
            if not math.isfinite(value):
                end(self.trainable.network)
            elif lane is None:
                (loss / counted).backward()  # type: ignore[no-untyped-call]
            else:
                by_lane.setdefault(lane, Gradients(parameters)).add(loss / counted)
            return value

        total = self._put(self.team.share(batch), through, afresh, state)
        if not math.isfinite(total):
            return total / counted, 0.0
        for _, made in sorted(by_lane.items()):
            made.give()
        self.team.sum_gradients(parameters)
        return total / counted, clip(parameters).item()

    def held_loss(self, held: Sequence[Item], state: State) -> float:
        """Mean loss of an answer's token."""
        import torch

        self.trainable.network.eval()

        def through(pack: list[Item], _: int | None) -> float:
            with torch.no_grad():
                return self._agreed(self._loss(pack, held).item())

        self._begin(held)
        mine = held[self.team.rank :: self.team.size]
        return self._put(mine, through, lambda: None, state) / self.trainable.counted(held)

    def _begin(self, items: Sequence[Item]) -> None:
        self.trainable.objective.begin(self.trainable.network, items, self.reading)

    def alone(self, examples: Sequence[Item]) -> list[float]:
        """Each example's own mean loss."""
        import torch

        self.trainable.network.eval()

        def each(some: Sequence[Item]) -> list[tuple[float]]:
            with torch.no_grad():
                return [
                    (self.trainable.loss([one])[0].item() / self.trainable.counted([one]),)
                    for one in some
                ]

        return [loss for (loss,) in self.team.divided(examples, each, in_step=self.in_step)]

    def _loss(self, pack: Sequence[Item], others: Sequence[Item]) -> torch.Tensor:
        """The summed loss of a pack; of an empty one nothing, by one of the others."""
        if pack:
            return self.trainable.loss(pack)[0]
        return self.trainable.loss([min(others, key=lambda e: len(e.tokens))])[0] * 0.0

    def _agreed(self, loss: float) -> float:
        """The loss of this process's pack, or no number where any process's is none."""
        if self.in_step and not all(math.isfinite(one) for (one,) in self.team.gather(loss)):
            return math.nan
        return loss

    def _put(
        self,
        examples: Sequence[Item],
        through: Through,
        again: Callable[[], object],
        state: State,
    ) -> float:
        self.room.tokens = state.pack_tokens or self.options.pack_size
        total = self.room.put(examples, through, again)
        if self.room.tokens < self.options.pack_size:
            state.pack_tokens = self.room.tokens
        return total
