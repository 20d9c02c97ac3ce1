"""A pack of examples as one row in which what several begin with stands once.

A tree of spans: an example is the spans from the root to its leaf, and a span sees those before it
on that way and itself. System prompts, passages and shown examples are computed once for all that
have them, forward and backward, and every example gets what it gets alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from sartor.models.generation import common_prefix

WORTH_SHARING = 16
"""Tokens; a shorter common part costs more in small products than it saves."""


class Sequenced(Protocol):
    """An example as tokens, of which the first `prompt` are not scored."""

    @property
    def tokens(self) -> tuple[int, ...]: ...
    @property
    def prompt(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Span:
    """A run of the row, and the runs before it that it sees, in their order."""

    start: int
    end: int
    before: tuple[tuple[int, int], ...] = ()

    @property
    def offset(self) -> int:
        """Position of its first token: how many tokens stand before it."""
        return sum(end - start for start, end in self.before)

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Row:
    """A pack laid out; virtual tokens, where there are any, are its first places."""

    tokens: tuple[int, ...]
    """Without the virtual ones."""
    spans: tuple[Span, ...]
    scored: tuple[int, ...]
    """Places whose next token is of an answer."""
    labels: tuple[int, ...]
    """Those next tokens."""
    origins: tuple[tuple[Span, Sequenced, int], ...] = ()
    """Of every span: an example that has its tokens, and where they begin in it."""

    @property
    def positions(self) -> list[int]:
        """Of every place, in its example."""
        return [p for s in self.spans for p in range(s.offset, s.offset + len(s))]


def laid_out(pack: Sequence[Sequenced], virtual: int = 0) -> Row:
    """The row of a pack, with so many virtual tokens before all examples."""
    made = _Making(virtual)
    made.branch(sorted(pack, key=lambda e: e.tokens), 0, (), root=virtual > 0)
    return Row(
        tuple(made.tokens), tuple(made.spans), tuple(made.scored), tuple(made.labels),
        tuple(made.origins),
    )  # fmt: skip


class _Making:
    def __init__(self, virtual: int) -> None:
        self.virtual = virtual
        self.tokens: list[int] = []
        self.spans: list[Span] = []
        self.scored: list[int] = []
        self.labels: list[int] = []
        self.origins: list[tuple[Span, Sequenced, int]] = []

    def branch(
        self,
        group: Sequence[Sequenced],
        depth: int,
        before: tuple[tuple[int, int], ...],
        root: bool = False,
    ) -> None:
        """Lay out examples, sorted, that are the same up to `depth` tokens."""
        if len(group) == 1 and not root:
            return self.leaf(group[0], depth, before)
        same = common_prefix([example.tokens[: example.prompt] for example in group])
        if same - depth >= WORTH_SHARING or root:
            span = self._add(group[0].tokens[depth:same], before, self.virtual if root else 0)
            self.origins.append((span, group[0], depth))
            depth, before = same, (*before, (span.start, span.end))
        for kin in _kin(group, same):
            if len(kin) == len(group):  # what they go on with is an answer
                for example in kin:
                    self.leaf(example, depth, before)
            else:
                self.branch(kin, depth, before)
        return None

    def leaf(self, example: Sequenced, depth: int, before: tuple[tuple[int, int], ...]) -> None:
        """What is left of an example; the place before its answer is always its own."""
        span = self._add(example.tokens[depth:], before, 0)
        self.origins.append((span, example, depth))
        first = span.end - (len(example.tokens) - example.prompt)
        self.scored += range(first - 1, span.end - 1)
        self.labels += example.tokens[example.prompt :]

    def _add(
        self, tokens: Sequence[int], before: tuple[tuple[int, int], ...], virtual: int
    ) -> Span:
        start = self.spans[-1].end if self.spans else 0
        span = Span(start, start + virtual + len(tokens), before)
        self.spans.append(span)
        self.tokens += tokens
        return span


def _kin(group: Sequence[Sequenced], place: int) -> Iterator[list[Sequenced]]:
    """Those that go on with the same token."""
    for _, kin in groupby(group, key=lambda e: e.tokens[place]):
        yield list(kin)
