"""What thimble was trained on, checked against what sartor is tested on.

    python pretraining/contamination.py --prepared DIR --pretrain ../shared/data/pretrain --data ../shared/data

Reads back what training reads: the texts out of their tokens, the reading triples, and the words
that skill tasks are made of. sartor's own check looks in each for runs of 13 words that also stand
in a document or example of the evaluation folders. Prints JSON; exits 1 if it found any. The
sources of the texts, which `--pretrain` holds, are counted on the way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from batches import BEGIN, END, Prepared, load
from corpus import RUN, evaluation_texts, rows
from sartor.data.contamination import Overlap, contamination


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prepared", type=Path, required=True, help="what prepare.py wrote")
    parser.add_argument(
        "--pretrain", type=Path, required=True, help="what prepare.py read the texts from"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder of the evaluation folders"
    )
    args = parser.parse_args()
    prepared = load(args.prepared)
    evaluation = evaluation_texts(args.data)
    documents = texts_of(prepared)
    sources = {
        row["text"]: row["source"]
        for path in sorted(args.pretrain.glob("text-*.jsonl.xz"))
        for row in rows(path)
    }
    origins = [sources.get(document, "unknown") for document in documents]
    words = prepared.words
    found = {
        "texts": checked(documents, origins, evaluation),
        "reading": checked([triple.text for triple in prepared.reading], None, evaluation),
        "skills": checked([*words.spans, *words.sentences, *words.paragraphs], None, evaluation),
    }
    collections = Counter("/".join(origin.split("/")[:2]) for origin in origins)
    print(
        json.dumps(
            {
                "run": RUN,
                "evaluation_texts": len(evaluation),
                **found,
                "sources": dict(collections.most_common()),
            },
            indent=1,
        )
    )
    sys.exit(1 if any(part["overlapping"] for part in found.values()) else 0)


def texts_of(prepared: Prepared) -> list[str]:
    """The texts as they were before they were tokens."""
    begins, ends = (np.flatnonzero(prepared.text == token) for token in (BEGIN, END))
    tokens = [
        prepared.text[begin + 1 : end].tolist() for begin, end in zip(begins, ends, strict=True)
    ]
    return prepared.tokenizer.decode_batch(tokens, skip_special_tokens=False)


def checked(
    texts: Sequence[str], origins: Sequence[str] | None, evaluation: Sequence[str]
) -> dict[str, Any]:
    overlaps = contamination(texts, evaluation, run=RUN)
    return {
        "checked": len(texts),
        "overlapping": len(overlaps),
        "longest_shared_run": longest_run(texts, overlaps, evaluation),
        "overlaps": [
            {"source": origins[o.index] if origins else o.index, "runs": o.shared, "first": o.words}
            for o in overlaps
        ],
    }


def longest_run(
    texts: Sequence[str], overlaps: Sequence[Overlap], evaluation: Sequence[str]
) -> int:
    """Words of the longest run that a text shares with an evaluation text."""
    if not overlaps:
        shorter = range(RUN - 1, 0, -1)
        return next((run for run in shorter if contamination(texts, evaluation, run)), 0)
    overlapping = [texts[overlap.index] for overlap in overlaps]
    return next(run for run in count(RUN) if not contamination(overlapping, evaluation, run + 1))


if __name__ == "__main__":
    main()
