"""The batch that a training broke on, kept so that people can look at it: one row an example."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.data.files import write_rows
from sartor.errors import TrainingError
from sartor.training.objective import Item


@dataclass(frozen=True)
class BadBatch:
    """What happened, and on which examples."""

    why: str
    phase: str
    step: int
    learning_rate: float
    loss: float
    examples: Sequence[Item]

    @property
    def file(self) -> str:
        return f"bad-batch-{self.phase.replace(' ', '-')}-step-{self.step}.jsonl"

    @property
    def named(self) -> str:
        """The first few examples, by their ids."""
        return listed([e.id for e in self.examples])

    def named_in(self, folder: Path) -> str:
        """The same, with the file that has them all."""
        return f"examples {self.named} ({folder / self.file})"

    def save(
        self, folder: Path, sources: Mapping[str, str], tokenizer: Any, alone: Sequence[float]
    ) -> Path:
        """Write a row for each example; `alone` is what each one's loss is in the state that
        training goes back to."""
        rows = [
            {
                "id": example.id,
                "source": sources.get(example.id, ""),
                "step": self.step,
                "phase": self.phase,
                "learning_rate": self.learning_rate,
                "why": self.why,
                "batch_loss": _plain(self.loss),
                "loss_before": _plain(loss),
                "prompt_tokens": example.prompt,
                "answer_tokens": len(example.tokens) - example.prompt,
                "text": tokenizer.decode(example.tokens),
            }
            for example, loss in zip(self.examples, alone, strict=True)
        ]
        write_rows(folder / self.file, rows)
        return folder / self.file


class BrokenStep(Exception):  # noqa: N818 - caught in run.py, and never a user's
    """A step that must not be made."""

    def __init__(self, batch: BadBatch | None, why: str) -> None:
        super().__init__(why)
        self.batch = batch
        """None where it is the loss on validation that is no number."""

    def given_up(self, what: str, rate: float, halvings: int, folder: Path) -> TrainingError:
        """What is said where training cannot go on."""
        batch = self.batch
        lowered = f", halved {halvings} times" if halvings else ""
        return TrainingError(
            f"{what}: {self}"
            + (f" at step {batch.step}" if batch else "")
            + f" with learning rate {rate:g}{lowered}"
            + (f", on {batch.named_in(folder)}" if batch else "")
            + ". Try smaller learning_rates"
            + (", or look at these examples." if batch else ".")
        )

    def by_the_base(self, what: str, folder: Path) -> TrainingError:
        """What is said where no example has a number for a loss before that step either."""
        batch = self.batch
        where = f" at step {batch.step}, on {batch.named_in(folder)}" if batch else ""
        return TrainingError(
            f"{what}: {self}{where}, and no validation example has a number for a loss before that "
            "either: it is the base that gives none. Fetch or convert its weights again, or choose "
            "another base."
        )


def listed(ids: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(ids) - 5
    return ", ".join(ids[:5]) + (f" and {more} more" * (more > 0))


def _plain(value: float) -> float | str:
    """JSON has no word for what is no number."""
    return value if math.isfinite(value) else str(value)
