"""When a training has gone wrong: a loss or a gradient that is no number, or far beyond the usual.

Two rules for a loss that is a number, each beyond what ordinary noise does. One step: above ten
times the usual plus the logarithm of the vocabulary's size, so ten times worse than before *and*
worse than guessing. Lasting: above twice the usual plus one nat, or two nats above the usual and no
better than guessing, in every step that the last `EXAMPLES` examples made. The usual is the highest
median of eight steps that training has had, so that data which is harder later on does not count. A
slow rise is left to the looks at validation, which stop training and keep the best.
tests/training/test_divergence.py measures false alarms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

MEDIAN_OF = 8
"""Steps."""
EXAMPLES = 32
"""Examples that a lasting rise must have been seen on; in small batches, many steps."""
FEWEST_STEPS = 4
"""And in large ones, so many steps."""
NO_BETTER = 0.98
"""Of the logarithm of the vocabulary's size, which is the loss of guessing: values that a rate far
too high has thrown out give each token the same chance, some a little more."""


@dataclass(frozen=True)
class Limits:
    """What is watched for in one training."""

    vocabulary: int
    batch_size: int

    @property
    def lasting(self) -> int:
        """Steps that a rise must last."""
        return max(FEWEST_STEPS, math.ceil(EXAMPLES / self.batch_size))

    def _lasting_above(self, usual: float) -> float:
        """What a loss must be above to be wrong where it lasts."""
        guessing = NO_BETTER * math.log(self.vocabulary)
        return min(2 * usual + 1, max(usual + 2, guessing))

    def wrong(self, losses: list[float], usual: float) -> str:
        """What is wrong with the last of the losses, in words; empty where nothing is."""
        loss = losses[-1]
        if not math.isfinite(loss):
            return f"the loss became {loss}"
        before = max(usual, median(losses[-MEDIAN_OF - 1 : -1])) if len(losses) > 1 else 0.0
        if before and loss > 10 * before + math.log(self.vocabulary):
            return f"the loss rose to {loss:.3g} at once, from {before:.3g}"
        above = self._lasting_above(usual)
        if usual and all(loss > above for loss in losses[-self.lasting :]):
            return f"the loss rose to {loss:.3g} in {self.lasting} steps, from {usual:.3g}"
        return ""

    def doubtful(self, losses: list[float], usual: float) -> bool:
        """Whether the last loss may be the first of a lasting rise."""
        return bool(usual and losses and losses[-1] > self._lasting_above(usual))

    def after(self, losses: list[float], usual: float) -> tuple[list[float], float]:
        """The losses worth remembering, and the usual, which the last steps do not raise yet."""
        settled = losses[: -self.lasting][-MEDIAN_OF:]
        usual = max(usual, median(settled)) if settled else usual
        return losses[-(self.lasting + MEDIAN_OF) :], usual
