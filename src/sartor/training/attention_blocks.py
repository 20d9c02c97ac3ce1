"""Which queries of a row go into one product, and which keys they see.

oneDNN compiles a program for every new shape of product, which takes longer than the product, and
half a megabyte. So blocks come in few sizes whatever the examples' lengths; what a block holds
beyond its example is computed and dropped. Those of one size go into one product, of several
examples: one block alone is so little work that asking for it takes as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from sartor.kernels import attention
from sartor.training.sharing import Span

QUERIES = 128
"""Queries at a time."""
LAST = 64
"""Of a run's last block, where so many are enough. Keys come in multiples of it."""
FEW = 16
"""Virtual tokens come in multiples of it."""
BATCH_SIZES = (8, 4, 2, 1)
"""Blocks in one product."""


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
    """Queries of a run, and the keys before their end; keys are counted from the first that the
    run sees, with some before it that stand for nothing."""

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
    seen: tuple[tuple[int, int, int], ...]
    """Which keys it sees: from one place in the row of keys to another, and where the first of
    them stands, counted from `first`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Blocks of one size, for one product."""

    blocks: tuple[Block, ...]
    queries: torch.Tensor
    """Rows of their queries, block after block, (blocks * queries,); the row after the last for
    what is no run's."""
    keys: torch.Tensor
    """Places of their keys, likewise, (blocks * keys,)."""
    unseen: torch.Tensor
    """Of each block's keys, how many of the first ones stand for nothing, (blocks,)."""
    seen: dict[tuple[int, int, int], list[int]]
    """What its blocks see, each with the numbers of those that do."""


def _before(run: Run) -> int:
    """Keys that must stand before those seen, for the first query to be at a multiple of `LAST`, or
    of `FEW` behind the few places that virtual tokens take: they are as many in every block."""
    start = run.span.offset + run.place - run.span.start
    return -start % (min(FEW, LAST) if start < LAST else LAST)


def blocks(run: Run, window: int | None) -> Iterator[Block]:
    """Those of a run, where each query sees the last `window` keys."""
    before = _before(run)
    places = (*run.span.before, (run.span.start, run.span.end))
    for at in range(0, run.count, QUERIES):
        count = min(QUERIES, run.count - at)
        start = before + run.span.offset + run.place - run.span.start + at
        first = 0 if window is None else max(0, start - window + 1) // LAST * LAST
        end = start + (LAST if count <= LAST else QUERIES)
        seen = tuple(_seen(places, before, first, end))
        yield Block(run.row + at, count, first, start, end, before, seen)


def _seen(
    places: Sequence[tuple[int, int]], at: int, first: int, last: int
) -> Iterator[tuple[int, int, int]]:
    """Which of the places, that stand one after another from `at` on, are keys `first` to `last`;
    each with where it stands from `first` on."""
    for start, end in places:
        low, high = max(first, at), min(last, at + end - start)
        if low < high:
            yield start + low - at, start + high - at, low - first
        at += end - start


@lru_cache(maxsize=16)
def batches(
    runs: tuple[Run, ...], window: int | None, scores: int, rows: int, tokens: int,
    device: torch.device,
) -> tuple[Batch, ...]:  # fmt: skip
    """The blocks of all runs by size, of one as many at once as make `scores` pairs of a query and
    a key, or one alone; of so many `rows` of queries and `tokens` of keys. Every layer asks."""
    by_size: dict[tuple[int, int, int], list[Block]] = {}
    for run in runs:
        for block in blocks(run, window):
            by_size.setdefault((block.first, block.start, block.end), []).append(block)
    return tuple(
        _batch(part, rows, tokens, device)
        for (first, start, end), alike in by_size.items()
        for part in _parts(alike, scores // ((end - start) * (end - first)))
    )


def _parts(alike: list[Block], most: int) -> Iterator[tuple[Block, ...]]:
    """Few sizes again: powers of two."""
    for count in (count for count in BATCH_SIZES if count <= max(1, most)):
        while len(alike) >= count:
            yield tuple(alike[:count])
            alike = alike[count:]


def _batch(part: tuple[Block, ...], rows: int, tokens: int, device: torch.device) -> Batch:
    one = part[0]
    seen: dict[tuple[int, int, int], list[int]] = {}
    queries = torch.full((len(part), one.end - one.start), rows)
    keys = torch.full((len(part), one.end - one.first), tokens)
    for number, block in enumerate(part):
        queries[number, : block.count] = torch.arange(block.row, block.row + block.count)
        for places in block.seen:
            start, end, at = places
            keys[number, at : at + end - start] = torch.arange(start, end)
            seen.setdefault(places, []).append(number)
    unseen = torch.tensor([max(0, block.before - block.first) for block in part])
    asked, shown = queries.flatten().to(device), keys.flatten().to(device)
    return Batch(part, asked, shown, unseen.to(device), seen)


@lru_cache(maxsize=16)
def compiled_blocks(runs: tuple[Run, ...], window: int | None) -> attention.Blocks:
    """What these runs ask, for what is compiled. Every layer wants to know."""
    asking = []
    for run in runs:
        end = run.place + run.count
        ranges = [*run.span.before, (run.span.start, end)]
        keys = torch.cat([torch.arange(*places) for places in ranges])
        asking.append(attention.Asking(run.row, run.count, keys))
    return attention.blocks(asking, window)
