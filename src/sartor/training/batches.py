"""Which examples make each step: in an order that follows from the seed, whatever came before."""

from __future__ import annotations

import math

from sartor.training.objective import Item
from sartor.training.order import alike, shuffled
from sartor.training.settings import TrainingSettings


class Batches:
    """The batch of any step."""

    def __init__(self, examples: list[Item], options: TrainingSettings) -> None:
        self.examples = examples
        self.options = options
        self._groups = alike(examples)
        self._epoch, self._order = -1, list[int]()

    def planned_steps(self) -> int:
        """Of a whole run: `epochs`, or fewer where that would be more than `max_tokens`."""
        per_epoch = sum(len(e.tokens) for e in self.examples)
        epochs = min(self.options.epochs, self.options.max_tokens / per_epoch)
        return max(1, math.ceil(epochs * len(self.examples) / self.options.batch_size))

    def at(self, step: int) -> list[Item]:
        """The examples of a step, shortest first."""
        first = step * self.options.batch_size
        places = range(first, first + self.options.batch_size)
        batch = [self.examples[self._place(place)] for place in places]
        return sorted(batch, key=lambda e: len(e.tokens))

    def _place(self, place: int) -> int:
        epoch, within = divmod(place, len(self.examples))
        if epoch != self._epoch:
            self._epoch = epoch
            seed = f"{self.options.seed}:{epoch}"
            self._order = shuffled(self._groups, self.options.together, seed)
        return self._order[within]
