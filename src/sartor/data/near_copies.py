"""Near-copies: texts that share most of their word shingles.

MinHash finds candidates (Broder 1997), 25 bands of 5 rows: a pair that shares 0.8 is missed once in
twenty thousand times. Every candidate is then verified on its true Jaccard similarity. Clusters
are compared through their first members, so a thousand copies of one text cost a thousand looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sartor.data.shingles import Hashes, jaccard

SIMILAR = 0.8
_BANDS, _ROWS = 25, 5
_SEED = 1
_COMPARED = 8  # members of a bucket, of different clusters, that a text is compared with


def near_copies(shingled: Sequence[Hashes], labels: Sequence[str] | None = None) -> list[list[int]]:
    """Clusters, of two or more indices, of texts tied by pairs that share 0.8 or more.

    `shingled` are sorted sets of shingles; an empty set is like nothing. With `labels`, only texts
    of one label are compared.
    """
    ties = Ties(len(shingled))
    filled = [index for index, own in enumerate(shingled) if len(own)]
    for bucket in _buckets(filled, _signatures([shingled[index] for index in filled]), labels):
        heads: list[int] = []
        for index in bucket:
            if (
                not any(_tied(ties, shingled, head, index) for head in heads)
                and len(heads) < _COMPARED
            ):
                heads.append(index)
    return ties.clusters()


class Ties:
    """Disjoint sets (union-find with path halving) over 0 to n - 1."""

    def __init__(self, size: int) -> None:
        self._above = list(range(size))
        self._size = [1] * size

    def root(self, one: int) -> int:
        while self._above[one] != one:
            self._above[one] = self._above[self._above[one]]
            one = self._above[one]
        return one

    def size(self, one: int) -> int:
        return self._size[self.root(one)]

    def tie(self, one: int, other: int) -> None:
        small, large = sorted(
            (self.root(one), self.root(other)), key=lambda root: (self._size[root], -root)
        )
        if small != large:
            self._above[small] = large
            self._size[large] += self._size[small]

    def clusters(self) -> list[list[int]]:
        """Sets of two or more, each in order, by first member."""
        members: dict[int, list[int]] = {}
        for one in range(len(self._above)):
            members.setdefault(self.root(one), []).append(one)
        return [cluster for cluster in members.values() if len(cluster) > 1]


def _tied(ties: Ties, shingled: Sequence[Hashes], head: int, index: int) -> bool:
    if ties.root(head) == ties.root(index):
        return True
    sizes = sorted((len(shingled[head]), len(shingled[index])))
    if sizes[0] < SIMILAR * sizes[1] or jaccard(shingled[head], shingled[index]) < SIMILAR:
        return False
    ties.tie(head, index)
    return True


def _signatures(shingled: Sequence[Hashes]) -> NDArray[np.uint32]:
    """MinHash signatures; (texts, bands * rows)."""
    from rensa import RMinHash

    if not shingled:
        return np.empty((0, _BANDS * _ROWS), dtype=np.uint32)
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in shingled])]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.concatenate(shingled), offsets, num_perm=_BANDS * _ROWS, seed=_SEED
    )
    return np.array(matrix.to_rows(), dtype=np.uint32)


def _buckets(
    indices: Sequence[int], signatures: NDArray[np.uint32], labels: Sequence[str] | None
) -> Iterator[list[int]]:
    """Texts that agree in all rows of a band, and in label; buckets of one are left out."""
    for band in range(_BANDS):
        rows = np.ascontiguousarray(signatures[:, band * _ROWS : (band + 1) * _ROWS])
        buckets: dict[tuple[bytes, str], list[int]] = {}
        for index, row in zip(indices, rows, strict=True):
            buckets.setdefault((row.tobytes(), labels[index] if labels else ""), []).append(index)
        yield from (bucket for bucket in buckets.values() if len(bucket) > 1)
