"""A pack of examples as one row in which what several begin with stands once.

A tree of spans (models/prefix_tree.py finds it): an example is the spans from the root to its leaf,
and a span sees those before it on that way and itself. System prompts, passages and shown examples
are computed once for all that have them, forward and backward, and every example gets what it gets
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sartor.models.generation import common_prefix
from sartor.models.prefix_tree import Node, leaves

WORTH_SHARING = 16
"""Tokens; a shorter common part costs more in small products than it saves."""


class Sequenced(Protocol):
    """An example as tokens, of which the first `prompt` are not scored."""

    @property
    def tokens(self) -> tuple[int, ...]: ...
    @property
    def prompt(self) -> int: ...


def added(before: Sequenced, example: Sequenced) -> int:
    """Tokens that an example adds to a row behind another, with which it shares how both begin."""
    same = common_prefix([before.tokens, example.tokens])
    return len(example.tokens) - (same if same >= WORTH_SHARING else 0)


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
    order: tuple[int, ...] = ()
    """The examples' places in the pack, as their answers follow one another in the row."""
    origins: tuple[tuple[Span, Sequenced, int], ...] = ()
    """Of every span: an example that has its tokens, and where they begin in it."""

    @property
    def positions(self) -> list[int]:
        """Of every place, in its example."""
        return [p for s in self.spans for p in range(s.offset, s.offset + len(s))]


def laid_out(pack: Sequence[Sequenced], virtual: int = 0) -> Row:
    """The row of a pack, with so many virtual tokens before all examples.

    The place before an answer is always its example's own, since no prompt is shared whole.
    """
    made = _Making(virtual)
    runs: dict[int, tuple[int, int]] = {}
    """Of every node, where it stands."""
    root = Node((), virtual=virtual) if virtual else None
    prompts = [example.tokens[: example.prompt] for example in pack]
    for leaf in leaves(prompts, root, worth=WORTH_SHARING, saving=WORTH_SHARING):
        example = pack[leaf.row]
        for depth, node in enumerate(leaf.before):
            if id(node) not in runs:
                before = tuple(runs[id(n)] for n in leaf.before[:depth])
                span = made.add(node.tokens, before, example, node.virtual)
                runs[id(node)] = (span.start, span.end)
        before = tuple(runs[id(node)] for node in leaf.before)
        own = len(example.tokens) - example.prompt + len(leaf)
        span = made.add(example.tokens[len(example.tokens) - own :], before, example)
        first = span.end - (len(example.tokens) - example.prompt)
        made.scored += range(first - 1, span.end - 1)
        made.labels += example.tokens[example.prompt :]
        made.order.append(leaf.row)
    return Row(
        tuple(made.tokens), tuple(made.spans), tuple(made.scored), tuple(made.labels),
        tuple(made.order), tuple(made.origins),
    )  # fmt: skip


class _Making:
    def __init__(self, virtual: int) -> None:
        self.virtual = virtual
        self.tokens: list[int] = []
        self.spans: list[Span] = []
        self.scored: list[int] = []
        self.labels: list[int] = []
        self.order: list[int] = []
        self.origins: list[tuple[Span, Sequenced, int]] = []

    def add(
        self, tokens: Sequence[int], before: tuple[tuple[int, int], ...], example: Sequenced,
        virtual: int = 0,
    ) -> Span:  # fmt: skip
        """The next run of the row, of `example` at least."""
        start = self.spans[-1].end if self.spans else 0
        span = Span(start, start + virtual + len(tokens), before)
        self.spans.append(span)
        self.tokens += tokens
        self.origins.append((span, example, max(0, span.offset - self.virtual)))
        return span
