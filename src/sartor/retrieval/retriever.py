"""What a store of passages is to the rest of sartor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sartor.data.records import Passage


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found, with the score it was ranked by (higher is better)."""

    passage: Passage
    score: float


class Retriever(Protocol):
    """Finds passages. `search` returns at most `top_k` hits a query, best first."""

    def index(self, passages: Sequence[Passage]) -> None: ...

    def delete(self, document_ids: Sequence[str]) -> None: ...

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]: ...
