"""Logits of given continuations in rows: what prompts begin with, and each prompt, is read once.

The continuations of a prompt stand behind it as leaves of the tree that generation reads prompts in
(prefix_tree.py). Knows nothing of text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sartor.models.generation import ROW_TOKENS
from sartor.models.packed_forward import Forward
from sartor.models.packed_generation import inputs_of, root_of
from sartor.models.packed_reading import Reading
from sartor.models.prefix import Prefix
from sartor.models.prefix_tree import WORTH_SHARING, Leaf, Node, leaves


def packed_logits(
    network: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Sequence[int]]],
    virtual: torch.Tensor | Prefix | None,
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Prompt, answer, and the logits that its tokens were chosen from: (answer, vocabulary); in any
    order. `answers` by prompt; none is empty."""
    forward = Forward(network)
    waiting = deque(_continued(leaves(prompts, root_of(network, virtual)), answers))
    while waiting:
        taken = _next_of(waiting)
        reading = Reading([leaf for leaf, *_ in taken], [len(answers[p][a]) for _, p, a in taken])
        found = forward.logits(inputs_of(network, reading, virtual), reading, reading.last)
        start = 0
        for _, prompt, answer in taken:
            end = start + len(answers[prompt][answer])
            yield prompt, answer, found[start:end]
            start = end


def _continued(
    prompts: Sequence[Leaf], answers: Sequence[Sequence[Sequence[int]]]
) -> Iterator[tuple[Leaf, int, int]]:
    """Every answer behind its prompt, whose last token is its own: the first logits are of it."""
    for prompt in prompts:
        some = answers[prompt.row]
        before, (*read, last) = prompt.before, prompt.tokens
        if len(some) > 1 and len(read) >= WORTH_SHARING:
            before, read = (*before, Node(tuple(read), before)), []
        for number, answer in enumerate(some):
            yield Leaf(prompt.row, (*read, last, *answer[:-1]), before), prompt.row, number


def _next_of(waiting: deque[tuple[Leaf, int, int]]) -> list[tuple[Leaf, int, int]]:
    """As many as make a row; one at least."""
    taken: list[tuple[Leaf, int, int]] = []
    counted: set[int] = set()
    tokens = 0
    while waiting:
        leaf = waiting[0][0]
        new = [node for node in leaf.before if not node.keys and id(node) not in counted]
        tokens += len(leaf) + sum(map(len, new))
        if taken and tokens > ROW_TOKENS:
            break
        counted |= {id(node) for node in new}
        taken.append(waiting.popleft())
    return taken
