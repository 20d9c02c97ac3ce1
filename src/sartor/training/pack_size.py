"""How many tokens go through a network together on a CPU, and how many packs of them side by side.
Loads nothing heavy."""

from __future__ import annotations

ENOUGH = 1024
"""Tokens that a model of width `WIDE` and more works on at full speed (measured at 768)."""
WIDE = 768
LEAST = 768
"""Tokens of a pack, at least, where several go through side by side: with 512 a model of width 768
is a fifth slower than with 1,024 (Intel Xeon with AMX, bfloat16)."""
FEWEST = 2
"""Examples of a step for each of these packs: lengths differ, and all wait for the last."""


def together(tokens: int, width: int) -> int:
    """Of so many tokens: a wide model gains nothing by more than `ENOUGH`, and its memory grows by
    each."""
    return min(tokens, max(ENOUGH, ENOUGH * WIDE // width))


def is_wide(width: int) -> bool:
    """Whether a pack is so much work that looking after its memory costs little beside it."""
    return width >= WIDE


def side_by_side(threads: int, tokens: int, examples: int) -> int:
    """How many packs go through at once where each has threads of its own, equally many: of so many
    tokens in all, and examples a step."""
    most = min(threads, tokens // LEAST, examples // FEWEST)
    return max(n for n in range(1, max(1, most) + 1) if threads % n == 0)
