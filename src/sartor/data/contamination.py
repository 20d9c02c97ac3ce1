"""Contamination: which texts hold a run of words that also occurs in other texts.

Thirteen words, as for GPT-3 (Brown et al. 2020, arXiv:2005.14165, appendix C). Texts are streamed;
only 8 bytes a run of `against` are held. A text shorter than one run is never reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sartor.data.cleaning import words
from sartor.data.shingles import Hashes, runs

_CHUNK = 1 << 20  # runs gathered before duplicates among them are removed


@dataclass(frozen=True, slots=True)
class Overlap:
    """A text that shares a run of words with the others."""

    index: int
    """Its place in `texts`."""
    shared: int
    """How many of its runs are shared."""
    words: str
    """The first shared run."""


def contamination(texts: Iterable[str], against: Iterable[str], run: int = 13) -> list[Overlap]:
    """The texts that share `run` words in a row with any of `against`, in order."""
    known = _known(against, run)
    found = []
    for index, text in enumerate(texts):
        mine = runs(text, run)
        places = np.flatnonzero(_among(mine, known))
        if len(places):
            first = " ".join(words(text)[places[0] : places[0] + run])
            found.append(Overlap(index, len(places), first))
    return found


def _known(texts: Iterable[str], run: int) -> Hashes:
    chunks: list[Hashes] = [np.empty(0, dtype=np.uint64)]
    waiting = 0
    for text in texts:
        chunks.append(runs(text, run))
        waiting += len(chunks[-1])
        if waiting > _CHUNK:
            chunks, waiting = [np.unique(np.concatenate(chunks))], 0
    return np.unique(np.concatenate(chunks))


def _among(mine: Hashes, known: Hashes) -> np.typing.NDArray[np.bool_]:
    if not len(known):
        return np.zeros(len(mine), dtype=bool)
    places = np.minimum(np.searchsorted(known, mine), len(known) - 1)
    shared: np.typing.NDArray[np.bool_] = known[places] == mine
    return shared
