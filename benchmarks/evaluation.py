"""How long it takes to score, decide, save and show many answers, and in how much memory.

    python benchmarks/evaluation.py --predictions 100000

Answers are made up: four candidates that get some of the words right. Ten scorers judge them (those
that need no model, under several names where there are fewer). Prints one JSON object: CPU
seconds by step, `seconds` in all, `peak_memory_mib` of the process, the page's size in bytes.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from sartor.data.records import Example, Message
from sartor.evaluation.decide import decided
from sartor.evaluation.decision_file import decision_json
from sartor.evaluation.records import Criteria, Measured, Prediction, Report, Score
from sartor.evaluation.report import report, save
from sartor.evaluation.scorers.registry import load_scorer
from sartor.evaluation.summary import summarize
from sartor.models.language_model import Completion
from sartor.studio.page import Counts, ReportPage, render

CANDIDATES = ("zero-shot", "rag", "lora", "rag+lora")
NAMES = ("exact_match", "token_f1", "rouge_l", "answered", "abstention")
SCORERS = 10
TEXT = """the warranty lasts two years from the day of purchase and covers parts but not wear unless
agreed in writing with the shop before delivery"""
WORDS = TEXT.split()


class Renamed:
    """A scorer under another name, so that there are ten."""

    def __init__(self, scorer: Any, name: str) -> None:
        self.scorer, self.name, self.binary = scorer, name, scorer.binary

    def score(self, predictions: Any) -> list[Score]:
        scores = self.scorer.score(predictions)
        return [Score(s.example_id, self.name, s.value, s.explanation) for s in scores]


def examples(count: int) -> list[Example]:
    """Three requests a document."""
    random = Random(0)
    return [
        Example(
            id=f"e{n}",
            input=(Message("user", f"What holds for product {n % 997} in case {n}?"),),
            targets=(" ".join(random.sample(WORDS, 12)),),
            group=f"d{n // 3}",
            tags=(f"kind {n % 12}",),
        )
        for n in range(count)
    ]


def answers(asked: list[Example], skill: float, seed: int) -> list[Prediction]:
    random = Random(seed)

    def said(target: str) -> str:
        kept = [word for word in target.split() if random.random() < skill]
        return " ".join(kept) or "I do not know."

    return [Prediction(e, Completion(said(e.targets[0]), "stop", 60, 12, 0.2)) for e in asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--predictions", type=int, default=100_000)
    wanted = parser.parse_args()
    took: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        began = process_time()
        yield
        took[name] = round(took.get(name, 0.0) + process_time() - began, 2)
        print(f"{name}: {took[name]} s", file=sys.stderr, flush=True)

    scorers = [
        Renamed(load_scorer(NAMES[at % len(NAMES)]), f"{NAMES[at % len(NAMES)]}-{at}")
        for at in range(SCORERS)
    ]
    asked, reports = examples(wanted.predictions // len(CANDIDATES)), list[Report]()
    for at, name in enumerate(CANDIDATES):
        measured = Measured(name, "made up", 0.2, 1e-5 * (at + 1), 0, 0.0, 0)
        predictions = answers(asked, 0.5 + 0.1 * at, at)
        with step("score and estimate"):
            reports.append(report(name, measured, predictions, scorers))
    criteria = Criteria("token_f1-1", 0.03)
    with step("decide"):
        decision, ranking = decided(reports, criteria, seed=0)
    with step("sum up"):
        summary = summarize(decision, ranking, reports, "USD", 0)
    with TemporaryDirectory() as folder, step("save"):
        for one in reports:
            save(one, Path(folder) / f"{one.candidate}.json")
    counts = Counts(0, 0, 0, len(asked))
    with step("page"):
        page = render(
            ReportPage(
                "synthetic", "made up", "", 0, decision, tuple(reports), counts, 1, summary=summary
            )
        )
    told = decision_json(decision, reports, summary)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "predictions": len(asked) * len(CANDIDATES),
                "scorers": SCORERS,
                "steps": took,
                "seconds": round(sum(took.values()), 1),
                "peak_memory_mib": round(peak),
                "page_bytes": len(page.encode()),
                "winner": told["winner"],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
