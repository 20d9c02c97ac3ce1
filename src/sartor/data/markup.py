"""Paragraphs out of a tree of elements: what HTML and XML readers share.

Text that runs through inline elements becomes one paragraph; items, table rows and headings keep
their shape. Names are compared without namespace and case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sartor.data.cleaning import flat

Element = Any
"""An lxml element; lxml ships no types."""

ROWS = frozenset({"tr", "row"})
CELLS = frozenset({"td", "th", "entry", "cell"})
ITEMS = frozenset({"li", "item", "listitem", "dd"})
HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}

_BULLET = re.compile(r"(?<=\S)[ \t]{2,}(?=[-•*] +\S)")
_BROKEN_LINE = re.compile(r"(?<![.:!?\n])\n(?![\n•*-]|[A-Z0-9])")


@dataclass(slots=True)
class Paragraphs:
    """Collects text; `open` adds to the running paragraph, `close` ends it."""

    hard_wrapped: bool = False
    """Whether a line end inside a sentence means nothing."""
    done: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    prefix: str = ""

    def open(self, text: str | None) -> None:
        if text:
            self.running.append(text)

    def close(self, prefix: str = "") -> None:
        text = even("".join(self.running), self.hard_wrapped)
        if text:
            self.done.append(self.prefix + text)
            self.prefix = prefix
        else:
            self.prefix = prefix or self.prefix
        self.running = []

    def row(self, cells: list[str]) -> None:
        self.close()
        if any(cells):
            self.done.append("| " + " | ".join(cells) + " |")

    def text(self) -> str:
        """Paragraphs apart by an empty line; items and rows of one list by a line end."""
        self.close()
        parts: list[str] = []
        for before, now in zip(["", *self.done], self.done, strict=False):
            together = _same_kind(before, now)
            parts += ["\n" if together else "\n\n", now]
        return "".join(parts).strip()


def even(text: str, hard_wrapped: bool) -> str:
    """Paragraphs (empty lines) and items kept; other line ends too, unless in a sentence."""
    text = _BULLET.sub("\n", text)
    paragraphs = re.split(r"\n[^\S\n]*\n\s*", text)
    lines = (
        "\n".join(flat(line) for line in part.split("\n") if line.strip()) for part in paragraphs
    )
    if hard_wrapped:
        lines = (_BROKEN_LINE.sub(" ", part) for part in lines)
    return "\n\n".join(filter(None, lines))


def name_of(element: Element) -> str:
    """The local name in lower case; empty for comments, instructions and unresolved entities."""
    tag = element.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""


def children(element: Element) -> Iterator[Element]:
    """Child elements proper."""
    return (child for child in element if name_of(child))


def _same_kind(before: str, now: str) -> bool:
    return any(before.startswith(mark) and now.startswith(mark) for mark in ("- ", "| "))
