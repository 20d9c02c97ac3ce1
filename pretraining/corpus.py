"""The pretraining corpus: what is kept of it, and the words that skill tasks are made of.

Sources that the evaluation folders were also cut from are left out whole, by name; then every text
that still shares a run of 13 words with an evaluation document or example is left out (the rule of
GPT-3, arXiv:2005.14165, appendix C), as sartor's own check finds them. Documents count twice: as
they lie on the disk, and as sartor reads them, where markup no longer breaks a run.
"""

from __future__ import annotations

import json
import lzma
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sartor.data.contamination import contamination
from sartor.data.formats import read
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

    @property
    def text(self) -> str:
        """All of it, as one text to be checked."""
        return f"{self.context} {self.question}\n{self.answer}"


def rows(path: Path) -> Iterator[dict[str, str]]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def evaluation_texts(folder: Path) -> list[str]:
    """All text of the documents and examples that sartor is tested on."""
    found: list[str] = []
    for path in sorted(folder.glob("*/documents/*")):
        found.append(path.read_text("utf-8", errors="replace"))
        found += [parsed.text for parsed in read(path).parsed]
    for path in sorted(folder.glob("*/examples.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                found += strings(json.loads(line))
    if not found:
        raise ValueError(
            f"{folder} holds no */documents/* and no */examples.jsonl; name the folder that does with --data"
        )
    return found


def strings(value: object) -> Iterator[str]:
    """Every string in a JSON value, keys left aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def uncontaminated(texts: Sequence[str], evaluation: Sequence[str]) -> list[int]:
    """Places of the texts that share no run with an evaluation text."""
    shared = {overlap.index for overlap in contamination(texts, evaluation, run=RUN)}
    return [place for place in range(len(texts)) if place not in shared]


def texts(folder: Path, evaluation: Sequence[str]) -> list[str]:
    found = [
        row["text"]
        for path in sorted(folder.glob("text-*.jsonl.xz"))
        for row in rows(path)
        if is_wanted(row)
    ]
    return [found[place] for place in uncontaminated(found, evaluation)]


def triples(folder: Path, evaluation: Sequence[str]) -> list[Triple]:
    found = []
    for row in rows(folder / "reading.jsonl.xz"):
        if row.get("overlaps") or not is_wanted(row):
            continue
        if row["kind"] == "exercise-true-false" or len(row["answer"]) > 400:
            continue
        answer = ABSTENTION if row["kind"] == "unanswerable" else row["answer"]
        found.append(Triple(row["context"], row["question"], answer))
    return [found[place] for place in uncontaminated([triple.text for triple in found], evaluation)]


def is_wanted(row: dict[str, str]) -> bool:
    """Neither from a source that sartor is tested on nor under a share-alike licence."""
    return not row["source"].startswith(EXCLUDED_SOURCES) and not row["licence"].startswith(
        "CC BY-SA"
    )


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
