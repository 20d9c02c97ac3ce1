"""What is asked of a generation, and the next token of each answer from its logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sartor.models.prefix import Prefix

if TYPE_CHECKING:
    import torch

COLDEST = 1e-4
"""Temperatures below it are greedy: logits divided by them leave the range of float32."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next token of every row that got one: (row, token)."""

    tokens: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """How to write each row, and when it ends."""

    limits: Sequence[int]
    """New tokens of each row, at most."""
    seeds: Sequence[int]
    ends: frozenset[int]
    temperature: float
    virtual: torch.Tensor | Prefix | None
    stopped: Callable[[int], bool]
    share: bool
    _generators: dict[int, torch.Generator] = field(default_factory=dict)

    def of(self, rows: Sequence[int]) -> Asked:
        """The same for some rows, counted anew."""
        return Asked(
            [self.limits[row] for row in rows], [self.seeds[row] for row in rows], self.ends,
            self.temperature, self.virtual, lambda i: self.stopped(rows[i]), self.share,
        )  # fmt: skip

    def ended(self, row: int, token: int, count: int) -> bool:
        """Whether a row is done with this token, its `count`-th."""
        return token in self.ends or count >= self.limits[row] or self.stopped(row)

    def generator(self, row: int) -> torch.Generator:
        """A row's own chance: what it draws does not hang on its neighbours."""
        import torch

        if row not in self._generators:
            self._generators[row] = torch.Generator().manual_seed(self.seeds[row])
        return self._generators[row]


def choose(logits: torch.Tensor, rows: Sequence[int], asked: Asked) -> list[int]:
    """The next token of each row from its logits (rows, vocabulary)."""
    import torch

    if asked.temperature < COLDEST:
        return [int(token) for token in logits.argmax(-1).tolist()]
    chances = torch.softmax(logits / asked.temperature, -1).cpu()
    return [
        int(torch.multinomial(chances[i], 1, generator=asked.generator(row)))
        for i, row in enumerate(rows)
    ]
