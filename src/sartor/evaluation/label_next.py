"""Which examples to label next: requests and documents on which the candidates will disagree.

An example that both candidates get right, or both wrong, tells nothing about which is better. How
far they disagree on one that nobody has labelled is foretold from the test examples most like it by
their words (nearest neighbours over tf-idf, drawn towards the mean where nothing is near). Requests
come from the log of the server; documents are those that no test example stands on yet, for more of
the same tell little.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sartor.data.records import Document, Example
from sartor.evaluation.ranking import scores_of
from sartor.evaluation.records import Decision, Report

MOST = 100
"""Rows that are named; more are seldom labelled in one sitting."""
NEIGHBOURS = 5
PRIOR = 0.2
"""How much likeness the mean over all test examples counts for; one like the request has 1."""
_MOST_KNOWN = 5_000
"""Test examples that likeness is measured to; beyond, evenly picked ones."""
_LONGEST = 20_000
"""Characters of a document that are read."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class ToLabel:
    """One thing worth labelling."""

    kind: Literal["request", "document"]
    id: str
    """Of the document, or of the interaction."""
    text: str
    """The request, or the document's title."""
    disagreement: float
    """Foretold mean distance between the two candidates' scores, 0 to 1."""
    like: str
    """Id of the test example that it is most like; empty where it is like none."""


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """What there is to label."""

    documents: tuple[Document, ...] = ()
    requests: tuple[tuple[str, str], ...] = ()
    """Id and text of each."""
    labelled: frozenset[str] = frozenset()
    """Texts of requests that are examples already."""


def undecided(decision: Decision) -> tuple[str, str, int] | None:
    """The best and the candidate that is soonest told from it, and the examples that it takes."""
    rows = [row for row in decision.comparisons if row.verdict == "cannot tell" and row.label_more]
    if not rows or decision.best is None:
        return None
    soonest = min(rows, key=lambda row: (row.label_more or 0, row.candidate))
    return decision.best, soonest.candidate, soonest.label_more or 0


def label_next(
    decision: Decision,
    reports: Sequence[Report],
    unlabelled: Unlabelled,
    labelled_for_one: float = 1.0,
) -> tuple[ToLabel, ...]:
    """Those on which the two candidates are likeliest to disagree first; none where all is told.

    As many as are needed: of `labelled_for_one` new examples one comes into the test part.
    """
    pair = undecided(decision)
    if pair is None:
        return ()
    first, second, more = pair
    examples, apart = _disagreement(reports, first, second, decision.criteria.scorer)
    tested = {name for e in examples for name in (*e.evidence, e.group)}
    documents = [one for one in unlabelled.documents if one.id not in tested]
    requests = _new(unlabelled.requests, unlabelled.labelled)
    texts = [text for _, text in requests]
    texts += [f"{one.title}\n{one.text[:_LONGEST]}" for one in documents]
    if not texts or not examples:
        return ()
    foretold, nearest = _foretell(texts, examples, apart)
    asked = [ToLabel("request", id, text, 0.0, "") for id, text in requests]
    asked += [ToLabel("document", one.id, one.title or one.id, 0.0, "") for one in documents]
    rows = [
        replace(row, disagreement=float(value), like=examples[near].id if near >= 0 else "")
        for row, value, near in zip(asked, foretold, nearest, strict=True)
    ]
    # Requests first: they are what the model is really asked, and need only an answer.
    rows.sort(key=lambda row: (row.kind == "document", -round(row.disagreement, 9), row.id))
    return tuple(rows[: min(MOST, ceil(more * labelled_for_one))])


def rows_to_fill(rows: Sequence[ToLabel]) -> list[dict[str, Any]]:
    """As lines of examples whose answers (for documents the questions too) are to be filled in."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if row.kind == "request":
            found.append({"input": row.text, "output": "", "note": _note(row)})
        else:
            found.append(
                {
                    "input": "",
                    "output": "",
                    "document_id": row.id,
                    "group": row.id,
                    "note": f"ask about: {row.text}. {_note(row)}",
                }
            )
    return found


def to_fill(rows: Sequence[ToLabel]) -> str:
    """JSONL, ready to be filled in and named under [data] examples."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows_to_fill(rows)]
    return "".join(lines)


def _note(row: ToLabel) -> str:
    like = f", most like test example {row.like}" if row.like else ""
    return f"expected disagreement {row.disagreement:.2f}{like}"


def _new(requests: Sequence[tuple[str, str]], labelled: Collection[str]) -> list[tuple[str, str]]:
    """Each request once, without those that are examples already."""
    seen, kept = set(labelled), []
    for id, text in requests:
        if text.strip() and text not in seen:
            seen.add(text)
            kept.append((id, text))
    return kept


def _disagreement(
    reports: Sequence[Report], first: str, second: str, scorer: str
) -> tuple[list[Example], NDArray[np.float64]]:
    by_name = {report.candidate: report for report in reports}
    a, b = scores_of(by_name[first], scorer), scores_of(by_name[second], scorer)
    both = [p.example for p in by_name[first].predictions if p.example.id in a.keys() & b.keys()]
    both = both[:: max(1, len(both) // _MOST_KNOWN)]
    return both, np.array([abs(a[example.id] - b[example.id]) for example in both])


def _foretell(
    texts: Sequence[str], examples: Sequence[Example], apart: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """For each text the foretold disagreement, and the place of the example most like it or -1."""
    known = [" ".join((e.input[-1].content, *e.targets[:1])) for e in examples]
    vectors = _vectors([*known, *texts])
    there, asked = vectors[: len(known)], vectors[len(known) :]
    found, nearest = np.empty(len(texts)), np.full(len(texts), -1, dtype=np.intp)
    for start in range(0, len(texts), 256):
        like = np.asarray((asked[start : start + 256] @ there.T).todense())  # (texts, examples)
        few = min(NEIGHBOURS, like.shape[1])
        places = np.argpartition(-like, few - 1, axis=1)[:, :few]
        weights = np.take_along_axis(like, places, axis=1)
        total = (weights * apart[places]).sum(axis=1) + PRIOR * apart.mean()
        found[start : start + 256] = total / (weights.sum(axis=1) + PRIOR)
        best = like.argmax(axis=1)
        met = like[np.arange(len(like)), best] > 0
        nearest[start : start + 256] = np.where(met, best, -1)
    return found, nearest


def _vectors(texts: Sequence[str]) -> Any:
    """Unit tf-idf rows: (texts, words), sparse."""
    from scipy.sparse import csr_array

    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    within = Counter(word for count in counts for word in count)
    places = {word: at for at, word in enumerate(within)}
    rows, columns, weights = [], [], []
    for row, count in enumerate(counts):
        found = [
            (1 + np.log(times)) * np.log((1 + len(texts)) / within[word])
            for word, times in count.items()
        ]
        length = float(np.linalg.norm(found)) or 1.0
        rows += [row] * len(count)
        columns += [places[word] for word in count]
        weights += [value / length for value in found]
    return csr_array((weights, (rows, columns)), shape=(len(texts), max(1, len(places))))
