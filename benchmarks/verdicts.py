"""Two tasks, one tool, opposite verdicts: `python benchmarks/verdicts.py style` and `facts`.

Both put the same candidates to thimble: zero-shot, few-shot, rag, lora, full. What wins is what
decision.json says; nothing here is chosen on the test part.

style   A bank's customers (NLU++, arXiv:2204.13021) to JSON of intents and slots. The form and the
        names stand in examples only; the help pages, which rag reads, hold neither. The score is
        the share of JSON fields that are right.
facts   What a product costs, of a shop's catalogue in four formats. Decided twice. First with the
        catalogue of the day on which the examples were written. Then every price goes up, each by
        3 to 12 %; the held-out answers are corrected, the training examples stay as they were, as
        they do in a company. What answered from the old index is judged again too, as a candidate.
        The score is right or wrong.

The data are not in this repository; without them it says so and does nothing. `--out` keeps the
projects, and a run that was killed goes on there. JSON to stdout.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import tempfile
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from deciding import DATA, answers, cpu_minutes, examples, other_figures, sartor, told, write_rows
from make_starter import csv_line, cut

CANDIDATES = ("zero-shot", "few-shot", "rag", "lora", "full")
STALE = "rag old index"
PROJECT = """\
[data]
documents = [{documents}]
examples = ["examples.jsonl"]
test_fraction = 0.3
max_train = {train}
max_validation = 60
max_test = 200

[customize]
candidates = {candidates}

{settings}
[evaluate]
scorers = {scorers}

[criteria]
scorer = "{scorer}"
"""
PRICE = re.compile(r'(?P<before><price>|class="price">\$|"price": )(?P<price>\d+\.?\d*)')
"""As the XML, HTML and JSONL catalogues write it."""


def project(
    folder: Path, documents: Path, scorers: list[str], candidates: list[str], train: int
) -> None:
    """sartor.toml; the first of the scorers decides."""
    named = {part for one in candidates for part in one.split("+")}
    settings = [f"[techniques.{one}]\nepochs = 4\n" for one in ("lora", "full") if one in named]
    folder.mkdir(parents=True, exist_ok=True)
    text = PROJECT.format(
        documents=json.dumps(str(documents)), train=train, candidates=json.dumps(candidates),
        settings="\n".join(settings), scorer=scorers[0], scorers=json.dumps(scorers),
    )  # fmt: skip
    (folder / "sartor.toml").write_text(text, "utf-8")


def style(folder: Path, data: Path, candidates: list[str]) -> dict[str, Any]:
    """Training wins, if anything does: what is wanted stands in no document."""
    rows = examples(data, "customer-support", "nlu-banking")
    if not rows:
        return {}
    write_rows(folder / "examples.jsonl", rows, ("id", "input", "output"))
    documents = data / "customer-support" / "documents"
    project(folder, documents, ["fields", "exact_match"], candidates, 700)
    return told(sartor("run", folder)) | {"scores": other_figures(folder)}


def facts(folder: Path, data: Path, candidates: list[str]) -> dict[str, Any]:
    """Retrieval wins, if anything does; then the documents change, and it is decided again."""
    rows = examples(data, "ecommerce", "lookup-price")
    if not rows:
        return {}
    source, documents = data / "ecommerce" / "documents", folder / "documents"
    keys = ("id", "input", "output", "document_ids")
    write_catalogue(source, documents, lambda price, _: price)
    write_rows(folder / "examples.jsonl", rows, keys)
    project(folder, documents, ["numeric", "recall_at_k"], candidates, 300)
    before = told(sartor("run", folder))
    stale = answers(folder, "rag")

    write_catalogue(source, documents, raised)
    held_out = {row["id"] for row in stale}
    write_rows(folder / "examples.jsonl", [corrected(row, held_out) for row in rows], keys)
    after = told(sartor("run", folder))
    same = {row["id"] for row in answers(folder, "rag")} == held_out
    write_rows(folder / "stale.jsonl", stale, ("id", "output"))
    judged = sartor("evaluate", folder, "--predictions", folder / "stale.jsonl", "--name", STALE)
    return {
        "before": before,
        "after": after,
        "after, with the old index": told(judged),
        "same_test_part": same,
        "scores": other_figures(folder),
    }


def raised(price: str, id: str) -> str:
    """3 to 12 % more, which of it by the product's id."""
    percent = 3 + int(sha256(id.encode()).hexdigest(), 16) % 10
    return f"{Decimal(price) * (100 + percent) / 100:.2f}"


def corrected(row: dict[str, Any], held_out: set[str]) -> dict[str, Any]:
    """The row with the new price, if it is one of those."""
    if row["id"] not in held_out:
        return row
    [product] = row["document_ids"]
    return row | {"output": "$" + raised(row["output"].removeprefix("$"), product)}


def write_catalogue(source: Path, folder: Path, priced: Callable[[str, str], str]) -> None:
    """The shop's catalogue in all its formats, each product at its price."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("catalogue-*")):
        found = cut(path)
        records = [
            _priced(record, id, path.suffix, priced)
            for record, id in zip(found.records, found.ids, strict=True)
        ]
        (folder / path.name).write_text(found.head + "".join(records) + found.tail, "utf-8")


def _priced(record: str, id: str, suffix: str, priced: Callable[[str, str], str]) -> str:
    if suffix == ".csv":
        [row] = csv.reader([record])
        row[5] = priced(row[5], id)
        return csv_line(row)
    made, count = PRICE.subn(lambda m: m["before"] + priced(m["price"], id), record)
    if count != 1:
        raise ValueError(f"{id}: {count} prices in its record; expected one")
    return made


STUDIES = {"style": style, "facts": facts}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, help="keep the project here")
    parser.add_argument("--candidates", default=",".join(CANDIDATES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.out or Path(temporary)) / options.study
        made = STUDIES[options.study](folder, options.data, options.candidates.split(","))
    if made:
        print(json.dumps({"study": options.study, **made, "cpu_minutes": cpu_minutes()}, indent=2))


if __name__ == "__main__":
    main()
