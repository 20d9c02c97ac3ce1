"""Make the e-commerce starter that the package carries, from ../shared/data/ecommerce.

    python benchmarks/make_starter.py

Keeps a seeded share of each catalogue's products, all manuals, and the questions about what was
kept. The kept records stay byte for byte as they were, in the format they came in. Running it again
writes the same files; a test compares them where the originals are at hand.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ORIGINALS = ROOT.parent / "shared" / "data" / "ecommerce"
STARTER = ROOT / "src" / "sartor" / "starters" / "ecommerce"

SEED = 7
SHARE = 0.40
"""Of each catalogue's products: about 970 of 2,465."""
LIMITS = {"lookup-price": 170, "classify": 150, "find-product": 150, "spec": 200, "description": 60}
"""Most questions of a kind; kinds not named here are kept whole. Descriptions are long to write."""
COLUMNS = ("id", "input", "output", "label", "document_ids")

Row = dict[str, Any]


@dataclass(frozen=True)
class Catalogue:
    """A catalogue file cut at its records: `head + records + tail` is the file again."""

    head: str
    records: tuple[str, ...]
    ids: tuple[str, ...]
    tail: str = ""

    def keeping(self, wanted: set[str]) -> str:
        kept = (record for id, record in zip(self.ids, self.records, strict=True) if id in wanted)
        return self.head + "".join(kept) + self.tail


def read_text(path: Path) -> str:
    """The file as it is, line ends included."""
    return path.read_bytes().decode("utf-8")


def cut(path: Path) -> Catalogue:
    """Cut a catalogue at its records, by its format."""
    text = read_text(path)
    catalogue = {".csv": cut_csv, ".jsonl": cut_jsonl, ".xml": cut_xml, ".html": cut_html}[
        path.suffix
    ](text)
    if catalogue.keeping(set(catalogue.ids)) != text:
        raise ValueError(f"{path}: cutting it and joining it again does not give the same file")
    return catalogue


def cut_csv(text: str) -> Catalogue:
    rows = list(csv.reader(io.StringIO(text, newline="")))
    lines = [csv_line(row) for row in rows]
    return Catalogue(lines[0], tuple(lines[1:]), tuple(row[0] for row in rows[1:]))


def csv_line(row: list[str]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(row)
    return line.getvalue()


def cut_jsonl(text: str) -> Catalogue:
    lines = [line + "\n" for line in text.split("\n")[:-1]]
    return Catalogue("", tuple(lines), tuple(json.loads(line)["id"] for line in lines))


def cut_xml(text: str) -> Catalogue:
    return cut_at(text, r'  <product id="([^"]+)">\n.*?\n  </product>\n')


def cut_html(text: str) -> Catalogue:
    return cut_at(text, r'<div class="product" id="([^"]+)">[^\n]*</div>\n')


def cut_at(text: str, pattern: str) -> Catalogue:
    """Cut where `pattern` matches; its first group is the record's id."""
    found = list(re.finditer(pattern, text, re.DOTALL))
    return Catalogue(
        head=text[: found[0].start()],
        records=tuple(match[0] for match in found),
        ids=tuple(match[1] for match in found),
        tail=text[found[-1].end() :],
    )


def choose_products(catalogues: dict[str, Catalogue], questions: list[Row]) -> set[str]:
    """A seeded share of each catalogue; products that more questions ask about are likelier."""
    asked: dict[str, int] = defaultdict(int)
    for row in questions:
        for id in row.get("document_ids", ()):
            asked[id] += 1
    chance = random.Random(SEED)
    chosen: set[str] = set()
    for name in sorted(catalogues):
        ids = catalogues[name].ids
        # Efraimidis and Spirakis 2006: weighted sampling without replacement.
        order = sorted(ids, key=lambda id: chance.random() ** (1 / (1 + asked[id])), reverse=True)
        chosen |= set(order[: max(1, round(SHARE * len(ids)))])
    return chosen


def choose_questions(rows: list[Row], kept: set[str]) -> list[Row]:
    """Questions on what is kept, at most `LIMITS` a kind, each answerable in one way only."""
    answers: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        answers[row["input"]].add(row["output"])
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if len(answers[row["input"]]) == 1 and set(row.get("document_ids", ())) <= kept:
            kinds[row["label"]].append(row)
    chance = random.Random(SEED)
    chosen = []
    for kind in sorted(kinds):
        chance.shuffle(kinds[kind])
        chosen += kinds[kind][: LIMITS.get(kind)]
    chosen.sort(key=lambda row: row["id"])
    return [{column: row[column] for column in COLUMNS if column in row} for row in chosen]


def make(originals: Path, starter: Path) -> None:
    """Write the starter's documents, examples and attribution; `sartor.toml` is left as it is."""
    lines = read_text(originals / "examples.jsonl").split("\n")
    questions = [json.loads(line) for line in lines if line]
    documents = originals / "documents"
    catalogues = {path.name: cut(path) for path in sorted(documents.glob("catalogue-*"))}
    products = choose_products(catalogues, questions)
    manuals = sorted(documents.glob("manual-*.md"))
    examples = choose_questions(questions, products | {path.stem for path in manuals})

    shutil.rmtree(starter / "documents", ignore_errors=True)
    (starter / "documents").mkdir(parents=True)
    for name, catalogue in catalogues.items():
        (starter / "documents" / name).write_bytes(catalogue.keeping(products).encode())
    for path in [*manuals, documents / "contoso-products.csv"]:
        (starter / "documents" / path.name).write_bytes(path.read_bytes())
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in examples)
    (starter / "examples.jsonl").write_bytes(text.encode())
    (starter / "ATTRIBUTION.md").write_text(ATTRIBUTION, encoding="utf-8", newline="\n")


ATTRIBUTION = """\
# Where this data is from

A sample of two invented shops, chosen by `benchmarks/make_starter.py` of the sartor repository.

| files | source | license |
|---|---|---|
| `documents/catalogue-*` | <https://github.com/aws-samples/retail-demo-store>, \
`src/products/data/products.yaml` at commit `ad4313e648d51d5f0be20f45d46a9fb8e3a6464d` | MIT-0, \
Copyright Amazon.com, Inc. or its affiliates |
| `documents/manual-*.md`, `documents/contoso-products.csv` | \
<https://github.com/Azure-Samples/contoso-chat>, `data/` at commit \
`028921fe3209db3216075d34ced6c109de132533` | MIT, Copyright (c) Microsoft Corporation |
| `examples.jsonl` | made from the two above: questions by template, and the manuals' own FAQ | \
as the source of each |

The catalogue was one YAML file; here it is one file per category, in turn CSV, XML, HTML and JSONL,
with about two products in five kept. The manuals' FAQ sections were cut off: they are questions
here.

## Known flaws

- Both shops are invented. The catalogue's texts were written by a machine from product pictures.
- `find-product` questions quote the product's own description; near-equal products exist.
- The FAQ's answers are not always supported by the rest of the manual.
- Some manuals and `contoso-products.csv` carry broken characters (U+FFFD for the degree sign).
- Reviews are nearly all four or five stars, and the manuals print the stars beside the review.

## MIT-0 (catalogue)

Copyright Amazon.com, Inc. or its affiliates. All Rights Reserved.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

## MIT License (manuals and contoso-products.csv)

Copyright (c) Microsoft Corporation. All rights reserved.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

if __name__ == "__main__":
    make(ORIGINALS, STARTER)
    count = read_text(STARTER / "examples.jsonl").count("\n")
    size = sum(path.stat().st_size for path in STARTER.rglob("*") if path.is_file())
    print(f"{STARTER.relative_to(ROOT)}: {count} examples, {size / 1e6:.2f} MB")
