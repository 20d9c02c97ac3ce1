"""Duplicates: exact copies go, near-copies are told of.

A near-copy of a document is kept: last year's terms, or a licence that differs in one clause, is
where the answer to some question lies. Near-copies of examples are kept too, on one side of the
split (grouping.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sartor.data.cleaning import normalized
from sartor.data.near_copies import near_copies
from sartor.data.questions import normalized_input
from sartor.data.records import Document, Dropped, Example
from sartor.data.shingles import shingles

_SHINGLE = 5  # words


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents without exact copies."""

    kept: tuple[Document, ...]
    dropped: tuple[Dropped, ...]
    same: dict[str, str]
    """From the id of a copy to the id of the document kept."""
    alike: tuple[tuple[str, ...], ...]
    """Ids of documents that are near-copies of each other."""


def without_copies(documents: Sequence[Document]) -> Documents:
    """Keep the first of documents with the same title and text."""
    first: dict[tuple[str, str], Document] = {}
    same: dict[str, str] = {}
    dropped = []
    for document in documents:
        kept = first.setdefault((normalized(document.title), normalized(document.text)), document)
        if kept is not document:
            same[document.id] = kept.id
            reason = f"has the same text as {kept.id}; what names it now means that one"
            dropped.append(Dropped(document.id, "document", reason, document.source))
    unique = tuple(first.values())
    clusters = near_copies([shingles(document.text, _SHINGLE) for document in unique])
    alike = tuple(tuple(unique[index].id for index in cluster) for cluster in clusters)
    return Documents(unique, tuple(dropped), same, alike)


def without_repeats(examples: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Dropped, ...]]:
    """Keep the first of examples with the same input and answer, with the evidence of all."""
    first: dict[tuple[str, str], Example] = {}
    dropped = []
    for example in examples:
        key = (normalized_input(example), normalized(example.targets[0]))
        if key not in first:
            first[key] = example
            continue
        first[key] = _merged(first[key], example)
        reason = f"has the same input and answer as {first[key].id}"
        dropped.append(Dropped(example.id, "example", reason, example.source))
    return tuple(first.values()), tuple(dropped)


def _merged(kept: Example, copy: Example) -> Example:
    return replace(
        kept,
        targets=tuple(dict.fromkeys(kept.targets + copy.targets)),
        evidence=tuple(dict.fromkeys(kept.evidence + copy.evidence)),
        tags=tuple(dict.fromkeys(kept.tags + copy.tags)),
        rejected=tuple(dict.fromkeys(kept.rejected + copy.rejected)),
    )
