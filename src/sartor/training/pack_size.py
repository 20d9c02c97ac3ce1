"""How many tokens go through a network together on a CPU. Loads nothing heavy."""

from __future__ import annotations

ENOUGH = 1024
"""Tokens that a model of width `WIDE` and more works on at full speed (measured at 768)."""
WIDE = 768


def together(tokens: int, width: int) -> int:
    """Of so many tokens: a wide model gains nothing by more than `ENOUGH`, and its memory grows by
    each."""
    return min(tokens, max(ENOUGH, ENOUGH * WIDE // width))


def is_wide(width: int) -> bool:
    """Whether a pack is so much work that looking after its memory costs little beside it."""
    return width >= WIDE
