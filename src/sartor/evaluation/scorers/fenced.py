"""Fenced blocks of an answer, as Markdown marks code: in time that grows with its length only."""

from __future__ import annotations

import re

_OPENS = re.compile(r"```(\w*)[^\S\n]*\n")


def fenced(text: str, languages: frozenset[str]) -> list[str]:
    """What stands in each closed block of one of the languages, by their names in lower case; ""
    is a block that names none."""
    found = []
    opening = _OPENS.search(text)
    while opening:
        end = text.find("```", opening.end())
        if end < 0:
            break  # nothing after it is closed either
        if opening[1].lower() in languages:
            found.append(text[opening.end() : end].rstrip())
        opening = _OPENS.search(text, end + 3)
    return found
