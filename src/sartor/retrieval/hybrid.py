"""BM25 and dense search over one LanceDB table in a folder, fused by reciprocal rank.

An embedded store: no server, safe under several readers; written once, by `Rag.fit`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sartor.data.records import Passage
from sartor.errors import DataError, DiskError, MissingExtraError
from sartor.models.encoder import Encoder, StaticEncoder
from sartor.retrieval.fusion import reciprocal_rank
from sartor.retrieval.retriever import Hit

CANDIDATES = 40
"""Passages taken from each ranking before they are fused."""
TABLE = "passages"
MADE = "customizations"
"""Where runs keep what techniques made, a folder each (trial.py)."""
BROKEN = (RuntimeError, ValueError, OSError)
"""What LanceDB raises for files that are gone, cut short or not its own."""
DISK = re.compile(r"(?:.*: )?(.+) \(os error (?:1|13|27|28|30|122)\)")
"""How its Rust side tells of no right, no space, a file too large, a folder only to read, or a
quota that is used up."""
COLUMNS = ["document_id", "start", "end", "text", "title"]


class HybridRetriever:
    """Full text (BM25, stemmed English) and vectors (cosine) over passages."""

    def __init__(self, directory: Path, encoder: Encoder | None = None) -> None:
        self.directory = directory
        self.encoder = encoder or StaticEncoder()

    @cached_property
    def _database(self) -> Any:
        os.environ.setdefault("LANCEDB_LOG", "error")  # its Rust side prints warnings on stderr
        try:
            import lancedb
        except ModuleNotFoundError as error:
            raise MissingExtraError("retrieval", "lancedb", "retrieval") from error
        return lancedb.connect(self.directory, read_consistency_interval=timedelta(seconds=5))

    @cached_property
    def _table(self) -> Any:
        try:
            return self._database.open_table(TABLE)
        except BROKEN as error:
            raise DataError(
                f"{self.directory} holds no index of passages. If it was moved, move the whole "
                f"folder; else delete {self._made} and run again: that makes it anew."
            ) from error

    @property
    def _made(self) -> Path:
        """The folder that a run makes as a whole, with the index somewhere in it."""
        above = (self.directory, *self.directory.parents)
        return next((path for path in above if path.parent.name == MADE), self.directory)

    def index(self, passages: Sequence[Passage]) -> None:
        """Replace the store's content. DataError when there is nothing to index."""
        if not passages:
            raise DataError(
                "there are no passages to index. Retrieval needs documents: name some under "
                "[data] documents, or leave rag out of [customize] candidates."
            )
        database = self._database  # first: it says what is missing, and silences what is imported
        import pyarrow as pa
        from lancedb.index import FTS

        searched = [searchable(passage) for passage in passages]
        vectors = self.encoder.encode(searched)
        columns: dict[str, Any] = {name: [getattr(p, name) for p in passages] for name in COLUMNS}
        columns["key"] = pa.array(range(len(passages)), pa.int64())
        columns["searched"] = searched
        columns["vector"] = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.reshape(-1)), self.encoder.dimensions
        )
        with self._writing():
            database.drop_table(TABLE, ignore_missing=True)  # one that a killed run left
            table = database.create_table(TABLE, pa.table(columns))
            table.create_index("searched", config=FTS(), replace=True)
        self.__dict__["_table"] = table

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """DiskError where the disk is full or the folder is not ours."""
        try:
            yield
        except BROKEN as error:
            if (found := DISK.search(str(error))) is None:
                raise
            raise DiskError(
                f"cannot write {self.directory}: {found[1]}. Free some space or check the folder's "
                "rights, and run again: what was done is kept."
            ) from error

    def delete(self, document_ids: Sequence[str]) -> None:
        """Forget all passages of these documents."""
        for document_id in document_ids:
            quoted = document_id.replace("'", "''")
            self._table.delete(f"document_id = '{quoted}'")

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """At most `top_k` hits a query, best first; scores are fused reciprocal ranks.

        A query without a word finds nothing.
        """
        vectors = self.encoder.encode([query or " " for query in queries])
        try:
            return [self._one(q, v, top_k) for q, v in zip(queries, vectors, strict=True)]
        except BROKEN as error:
            reason = str(error).partition("\n")[0][:200]
            raise DataError(
                f"the index of passages in {self.directory} is broken ({reason}). Delete "
                f"{self._made} and run again: that makes it anew."
            ) from error

    def _one(self, query: str, vector: Any, top_k: int) -> list[Hit]:
        if not any(character.isalnum() for character in query):
            return []
        most = max(CANDIDATES, top_k)
        found = [self._lexical(query, most), self._dense(vector, most)]
        rows = {row["key"]: row for ranking in found for row in ranking}
        fused = reciprocal_rank([[row["key"] for row in ranking] for ranking in found])
        return [Hit(_passage(rows[key]), score) for key, score in fused[:top_k]]

    def _lexical(self, query: str, most: int) -> list[dict[str, Any]]:
        from lancedb.query import MatchQuery

        words = " ".join(query.split())
        search = self._table.search(MatchQuery(words, "searched"), query_type="fts")
        rows = search.select([*COLUMNS, "key", "_score"]).limit(most).to_list()
        return sorted(rows, key=lambda row: (-row["_score"], row["key"]))

    def _dense(self, vector: Any, most: int) -> list[dict[str, Any]]:
        search = self._table.search(vector, vector_column_name="vector").distance_type("cosine")
        rows = search.select([*COLUMNS, "key", "_distance"]).limit(most).to_list()
        return sorted(rows, key=lambda row: (row["_distance"], row["key"]))


def searchable(passage: Passage) -> str:
    """What is searched of a passage: its title too, unless it begins with it."""
    if not passage.title or passage.text.startswith(passage.title):
        return passage.text
    return f"{passage.title}\n{passage.text}"


def _passage(row: dict[str, Any]) -> Passage:
    return Passage(**{name: row[name] for name in COLUMNS})
