"""What stands between two marks, replaced in time that grows with the text alone.

As `opening.*?closing` would do it; but an opening without its closing is looked for to the end of
the text once, not once for each opening, which takes minutes for a page of "<!--".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache


def _nothing(kind: str, inner: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Enclosed:
    """Two marks, and what becomes of the text from one to the other."""

    opening: str
    """A pattern; its group, where it has one, is the kind."""
    closing: str
    r"""A pattern; \1 stands for the kind."""
    replacement: Callable[[str, str], str] = _nothing
    """From the kind and the text between the marks to what is left of all three."""
    shortest: int = 0
    """Characters that lie between the marks at least."""

    def replaced(self, text: str) -> str:
        parts: list[str] = []
        unclosed: set[str] = set()
        done = start = 0
        while opened := _compiled(self.opening).search(text, start):
            kind = opened[1].lower() if opened.re.groups else ""
            closing = _compiled(self.closing.replace(r"\1", re.escape(kind)))
            inside = opened.end() + self.shortest
            closed = None if kind in unclosed else closing.search(text, inside)
            if closed is None:
                unclosed.add(kind)
                start = opened.start() + 1
                continue
            inner = text[opened.end() : closed.start()]
            parts += [text[done : opened.start()], self.replacement(kind, inner)]
            done = start = closed.end()
        return "".join([*parts, text[done:]])


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)
