"""The pretraining corpus: what is kept of it, and the words that skill tasks are made of.

Sources that the evaluation folders were also cut from are left out whole, by name; then every
document that still shares a run of 13 words with an evaluation document or example is left out
(the rule of GPT-3, arXiv:2005.14165, appendix C). `sartor.data.contamination` does the check.
"""

from __future__ import annotations

import json
import lzma
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skills import ABSTENTION, Words

EXCLUDED_SOURCES = (
    "MedQuAD", "digital.gov", "va.gov", "github/", "XQuAD", "TAT-QA",
    "openstax/psychology", "openstax/sociology", "openstax/microbiology",
    "openstax/us-history", "openstax/finance",
)  # fmt: skip
RUN = 13
"""Words; a shared run this long counts as contamination."""


@dataclass(frozen=True)
class Triple:
    context: str
    question: str
    answer: str


def rows(path: Path) -> Iterator[dict[str, str]]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def runs(text: str) -> set[int]:
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[i : i + RUN])) for i in range(len(words) - RUN + 1)}


def evaluation_runs(folder: Path) -> set[int]:
    """Every 13-word run of the documents and examples that sartor is tested on."""
    found: set[int] = set()
    for path in sorted(folder.glob("*/documents/*")):
        found |= runs(path.read_text("utf-8", errors="replace"))
    for path in sorted(folder.glob("*/examples.jsonl")):
        for line in path.open(encoding="utf-8"):
            row = json.loads(line)
            found |= runs(str(row["input"])) | runs(str(row["output"]))
    return found


def texts(folder: Path, banned: set[int]) -> list[str]:
    kept = []
    for path in sorted(folder.glob("text-*.jsonl.xz")):
        for row in rows(path):
            if row["source"].startswith(EXCLUDED_SOURCES) or row["licence"].startswith("CC BY-SA"):
                continue
            if runs(row["text"]).isdisjoint(banned):
                kept.append(row["text"])
    return kept


def triples(folder: Path, banned: set[int]) -> list[Triple]:
    kept = []
    for row in rows(folder / "reading.jsonl.xz"):
        if row.get("overlaps") or row["source"].startswith(EXCLUDED_SOURCES) or row["licence"].startswith("CC BY-SA"):
            continue
        if row["kind"] in ("exercise-true-false",) or len(row["answer"]) > 400:
            continue
        if not runs(row["context"] + " " + row["question"]).isdisjoint(banned):
            continue
        answer = ABSTENTION if row["kind"] == "unanswerable" else row["answer"]
        kept.append(Triple(row["context"], row["question"], answer))
    return kept


def words_of(documents: list[str], seed: int) -> Words:
    """Frequent words, short spans, sentences and paragraphs, in a fixed order."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    spans, sentences, paragraphs = [], [], []
    for text in rng.sample(documents, min(6000, len(documents))):
        for paragraph in text.split("\n"):
            words = paragraph.split()
            if not 25 <= len(words) <= 130 or not paragraph.isascii():
                continue
            paragraphs.append(paragraph)
            counts.update(w for w in re.findall(r"\b[a-z]{4,11}\b", paragraph))
            for sentence in re.split(r"(?<=[.?!]) ", paragraph):
                n = len(sentence.split())
                if 6 <= n <= 28 and sentence.endswith("."):
                    sentences.append(sentence)
            start = rng.randrange(len(words) - 6)
            spans.append(" ".join(words[start : start + rng.randint(1, 6)]).strip(".,;:()\"'"))
    nouns = tuple(w for w, n in counts.most_common(9000)[150:] if n >= 3)
    spans = [s for s in spans if len(s) > 2]
    return Words(nouns, tuple(spans[:40000]), tuple(sentences[:60000]), tuple(paragraphs[:40000]))
