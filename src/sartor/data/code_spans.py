"""Where code stands in Markdown: fenced blocks, and spans between runs of backticks.

A fence is closed by a later one that is as long, or, where none is, by the longest of the others;
a run of backticks by the next that is exactly as long. What is never closed is no code.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

_RUN = re.compile(r"`+|^~{3,}", re.MULTILINE)
_SHORTEST_FENCE = 3

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Run:
    start: int
    end: int
    mark: str
    begins_line: bool

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def is_fence(self) -> bool:
        return self.begins_line and self.length >= _SHORTEST_FENCE


def code_spans(text: str) -> list[Span]:
    """Start and end of each stretch of code, its marks among it; in order, none inside another."""
    runs = [_run(text, match) for match in _RUN.finditer(text)]
    longest = _longest_fence_after(runs)
    alike: dict[int, list[int]] = defaultdict(list)
    for index, run in enumerate(runs):
        if run.mark == "`":
            alike[run.length].append(index)
    spans: list[Span] = []
    index = 0
    while index < len(runs):
        run = runs[index]
        closing = _closing_fence(runs, index, longest[index]) if run.is_fence else None
        if closing is not None:
            line_end = text.find("\n", runs[closing].end)
            spans.append((run.start, line_end if line_end >= 0 else len(text)))
        elif run.mark == "`" and (later := _next(alike[run.length], index)) is not None:
            closing = later
            spans.append((run.start, runs[closing].end))
        index += 1
        while closing is not None and index < len(runs) and runs[index].start < spans[-1][1]:
            index += 1
    return spans


def _run(text: str, match: re.Match[str]) -> _Run:
    start = match.start()
    return _Run(start, match.end(), text[start], start == 0 or text[start - 1] == "\n")


def _longest_fence_after(runs: list[_Run]) -> list[int]:
    """For each run, the length of the longest fence of its mark behind it; 0 where none is."""
    behind = {"`": 0, "~": 0}
    found = [0] * len(runs)
    for index in range(len(runs) - 1, -1, -1):
        run = runs[index]
        found[index] = behind[run.mark]
        if run.is_fence:
            behind[run.mark] = max(behind[run.mark], run.length)
    return found


def _closing_fence(runs: list[_Run], index: int, longest: int) -> int | None:
    opening = runs[index]
    enough = min(opening.length, longest)
    return next(
        (
            later
            for later in range(index + 1, len(runs) if longest else 0)
            if runs[later].is_fence
            and runs[later].mark == opening.mark
            and runs[later].length >= enough
        ),
        None,
    )


def _next(indices: list[int], index: int) -> int | None:
    place = bisect_right(indices, index)
    return indices[place] if place < len(indices) else None
