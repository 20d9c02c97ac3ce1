"""Which queries of a row go into one product, and which keys they see.

oneDNN compiles a program for every new shape of product, which takes longer than the product, and
half a megabyte. So blocks come in few sizes whatever the examples' lengths; what a block holds
beyond its example is computed and dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from sartor.training.sharing import Span

QUERIES = 128
"""Queries at a time."""
LAST = 64
"""Of a run's last block, where so many are enough. Keys come in multiples of it."""
FEW = 16
"""Virtual tokens come in multiples of it."""


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring queries of a span."""

    span: Span
    place: int
    """Of the first one, in the row of keys."""
    count: int
    row: int
    """Of the first one, among the queries."""


def every(spans: Sequence[Span]) -> list[Run]:
    """All places of all spans ask."""
    return [Run(span, span.start, len(span), span.start) for span in spans]


def asking(spans: Sequence[Span], places: Sequence[int]) -> list[Run]:
    """These places alone ask, the lowest first; each a row."""
    runs: list[Run] = []
    by_start = iter(sorted(spans, key=lambda s: s.start))
    span = next(by_start)
    for row, place in enumerate(places):
        while place >= span.end:
            span = next(by_start)
        last = runs[-1] if runs else None
        if last and last.span == span and last.place + last.count == place:
            runs[-1] = Run(span, last.place, last.count + 1, last.row)
        else:
            runs.append(Run(span, place, 1, row))
    return runs


@dataclass(frozen=True, slots=True)
class Block:
    """Queries of a run, and the keys before their end; keys are counted as `seen` lays them."""

    row: int
    """Of the first query."""
    count: int
    """Queries that are the run's."""
    first: int
    """Key."""
    start: int
    """Key at the place of the first query."""
    end: int
    """Of queries and keys, perhaps beyond the run's."""
    before: int
    """Keys that stand for nothing, the first ones."""


def _before(run: Run) -> int:
    """Keys that must stand before those seen, for the first query to be at a multiple of `LAST`, or
    of `FEW` behind the few places that virtual tokens take: they are as many in every block."""
    start = run.span.offset + run.place - run.span.start
    return -start % (min(FEW, LAST) if start < LAST else LAST)


@lru_cache(maxsize=256)
def blocks(run: Run, window: int | None) -> tuple[Block, ...]:
    """Those of a run; every layer asks for them."""
    return tuple(_divided(run, window))


def _divided(run: Run, window: int | None) -> Iterator[Block]:
    before = _before(run)
    for at in range(0, run.count, QUERIES):
        count = min(QUERIES, run.count - at)
        start = before + run.span.offset + run.place - run.span.start + at
        first = 0 if window is None else max(0, start - window + 1) // LAST * LAST
        end = start + (LAST if count <= LAST else QUERIES)
        yield Block(run.row + at, count, first, start, end, before)


def seen(keys: torch.Tensor, run: Run) -> torch.Tensor:
    """The keys (key heads, some and tokens and some more, dimension) that a run sees, some before
    its first and after its last. Of `keys` the first `LAST` stand for nothing."""
    before, span = _before(run), run.span
    if not span.before:
        return keys[:, LAST + span.start - before :]
    others = [keys[:, LAST + start : LAST + end] for start, end in span.before]
    own = keys[:, LAST + span.start : LAST + span.end + QUERIES]
    return torch.cat([keys[:, :before], *others, own], 1)


def give_back(total: torch.Tensor, gradient: torch.Tensor, run: Run) -> None:
    """Add the gradient of what a run saw to that of all keys."""
    at = _before(run)
    for start, end in (*run.span.before, (run.span.start, run.span.end)):
        total[:, LAST + start : LAST + end] += gradient[:, at : at + end - start]
        at += end - start


def part(keys: torch.Tensor, block: Block) -> torch.Tensor:
    """Those that a block may see, side by side: products of a slice take half as long again."""
    return keys[:, block.first : block.end].contiguous()
