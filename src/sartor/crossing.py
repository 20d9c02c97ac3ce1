"""Candidates on bases: each is tried on every base of [model], unless it names its own.

With one base a candidate goes by its own name; with several it is `name@base`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.project import Candidate, ProjectFile

LONGEST = 60
"""Characters of a base in a candidate's name."""


@dataclass(frozen=True, slots=True)
class Crossed:
    """A candidate on one base."""

    candidate: Candidate
    base: str
    """As the project writes it."""
    name: str
    """What reports and releases call it."""
    chosen: bool
    """Whether the candidate itself names this base."""


def bases_of(file: ProjectFile) -> tuple[str, ...]:
    """Every base that some candidate is tried on: those of [model] first, in their order."""
    crossed = any(not candidate.base for candidate in file.customize.candidates)
    own = [base for candidate in file.customize.candidates for base in candidate.base]
    return tuple(dict.fromkeys([*(file.model.names if crossed else ()), *own]))


def crossed(file: ProjectFile) -> tuple[Crossed, ...]:
    """Every candidate on each of its bases, base by base."""
    bases = bases_of(file)
    short = _short_names(bases)
    return tuple(
        Crossed(
            candidate,
            base,
            f"{candidate.name}@{short[base]}" if len(bases) > 1 else candidate.name,
            chosen=bool(candidate.base),
        )
        for base in bases
        for candidate in file.customize.candidates
        if base in (candidate.base or file.model.names)
    )


def _short_names(bases: Sequence[str]) -> dict[str, str]:
    """The last part of each base's name; the whole of it where another ends alike."""
    ends = [_plain(base.rstrip("/").rpartition("/")[2]) for base in bases]
    lower = [end.lower() for end in ends]
    names: dict[str, str] = {}
    for base, end in zip(bases, ends, strict=True):
        name = whole = end if lower.count(end.lower()) == 1 else _plain(base)
        taken = {other.lower() for other in names.values()}
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{whole}.{number}"
        names[base] = name
    return names


def _plain(name: str) -> str:
    """In the letters that names of files have everywhere."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.")[-LONGEST:] or "base"
