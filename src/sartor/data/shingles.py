"""Runs of words as 64-bit numbers: what near-copies and contamination are found by.

Hashes are the same in every process and on every machine. Two different runs share one with
probability 2**-64 a pair: some 1e-6 for a million runs against ten million.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from sartor.data.cleaning import words

Hashes = NDArray[np.uint64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio; Knuth, TAOCP 3, section 6.4


def runs(text: str, length: int) -> Hashes:
    """One hash for each run of `length` words, in order; (words - length + 1,), or none."""
    hashes = np.fromiter(map(_word_hash, words(text)), dtype=np.uint64)
    return _combined(hashes, length)


def shingles(text: str, length: int) -> Hashes:
    """The set of runs, sorted; a text shorter than one run counts as one shingle."""
    hashes = np.fromiter(map(_word_hash, words(text)), dtype=np.uint64)
    if 0 < len(hashes) < length:
        return _combined(hashes, len(hashes))
    return np.unique(_combined(hashes, length))


def jaccard(one: Hashes, other: Hashes) -> float:
    """Shared share of two sorted sets, 0 to 1."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - shared
    return shared / union if union else 1.0


def _combined(hashes: Hashes, length: int) -> Hashes:
    count = len(hashes) - length + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    total = np.zeros(count, dtype=np.uint64)
    for offset in range(length):  # wraps modulo 2**64
        total = total * _MULTIPLIER + hashes[offset : offset + count]
        total ^= total >> np.uint64(29)
    return total


@lru_cache(maxsize=1 << 20)
def _word_hash(word: str) -> int:
    return int.from_bytes(
        blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )
