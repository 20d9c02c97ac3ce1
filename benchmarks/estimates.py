"""What techniques were estimated to take, and what they took: JSON on stdout.

    python benchmarks/estimates.py [--base thimble] [--max-tokens 60000] [technique ...]

On the e-commerce data of ../shared/data where that is at hand, else on the starter. Every technique
is estimated and measured in a process of its own, so that none inherits another's memory; on a
machine that is busy with other things only the ratios of CPU seconds mean much.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sartor import starters
from sartor.data.collect import collect
from sartor.data.prepare import Preparation, prepare
from sartor.data.records import Split
from sartor.evaluation.sampling import sampling_for
from sartor.models import local
from sartor.models.memory import PeakMemory
from sartor.models.speed import measure
from sartor.techniques.estimate import estimate
from sartor.techniques.registry import build
from sartor.techniques.workload import workload

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "ecommerce"
TECHNIQUES = ("zero-shot", "few-shot", "rag", "p-tuning", "lora", "full", "rag+lora")
TRAINED = ("p-tuning", "lora", "full")
ANSWERS, BATCH = 128, 32


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("techniques", nargs="*", default=TECHNIQUES)
    asked.add_argument("--base", default="thimble")
    asked.add_argument("--max-tokens", type=int, default=60_000)
    asked.add_argument("--only", choices=("estimated", "measured"))
    options = asked.parse_args()
    if options.only:
        technique = build(options.techniques[0], {}, _settings(options.max_tokens))
        does = _estimated if options.only == "estimated" else _measured
        print(json.dumps(does(technique, options.base, _split())))
        return
    rows = [_row(name, options.base, options.max_tokens) for name in options.techniques]
    print(json.dumps(rows, indent=2))


def _settings(max_tokens: int) -> dict[str, dict[str, Any]]:
    """One learning rate, and no stopping early: the whole of what was planned is done."""
    small = {"max_tokens": max_tokens, "learning_rates": (1e-3,), "patience": 100}
    return dict.fromkeys(TRAINED, small)


def _row(technique: str, base: str, max_tokens: int) -> dict[str, Any]:
    found = {}
    for only in ("estimated", "measured"):
        command = [sys.executable, __file__, technique, "--base", base]
        command += ["--max-tokens", str(max_tokens), "--only", only]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[only] = json.loads(run.stdout)
    estimated, measured = found["estimated"], found["measured"]
    ratios = {
        key: round(estimated[key] / measured[key], 2)
        for key in estimated.keys() & measured.keys()
        if measured[key] > 0.01  # of less the clock tells nothing
    }
    return {"technique": technique, "base": base, **found, "ratios": ratios}


def _split() -> Split:
    folder = SHARED if SHARED.is_dir() else starters.FOLDER / "ecommerce"
    return prepare(collect(folder, ["documents"], ["examples.jsonl"]), Preparation()).split


def _estimated(technique: Any, base: str, split: Split) -> dict[str, Any]:
    card = local.describe(base)
    tokenizer = local.load_tokenizer(card)
    began = time.perf_counter()
    speed = measure(card)
    probed = time.perf_counter() - began
    work = workload(technique, card, split.training, tokenizer)
    longest = sampling_for(tokenizer, split.training.train, None, 0).max_new_tokens
    found = estimate(work, card, speed, ANSWERS, longest)
    return {
        "customize_seconds": round(found.seconds_to_customize, 2),
        "answer_seconds": round(found.seconds_per_answer, 4),
        "peak_gb": round(found.peak_memory_bytes / 1e9, 3),
        "prompt_tokens": round(work.prompt_tokens),
        "answer_tokens": round(work.answer_tokens),
        "why": found.why,
        "probe_seconds": round(probed, 1),
        "how": speed.how,
    }


def _measured(technique: Any, base: str, split: Split) -> dict[str, Any]:
    card = local.describe(base)
    sampling = sampling_for(local.load_tokenizer(card), split.training.train, None, 0)
    examples = random.Random(0).sample(split.test, min(ANSWERS, len(split.test)))
    examples.sort(key=lambda e: -sum(len(m.content) for m in e.input))  # as predict.py has it
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
        fitting = _Clock()
        made = technique.fit(card, split.training, Path(folder))
        fitting.stop()
        model = technique.load(made)
        model.generate([examples[0].input], sampling)
        answering = _Clock()
        answers = []
        for start in range(0, len(examples), BATCH):
            part = examples[start : start + BATCH]
            answers += model.generate([example.input for example in part], sampling)
        answering.stop()
    return {
        "customize_seconds": round(fitting.wall, 2),
        "customize_cpu_seconds": round(fitting.cpu, 2),
        "answer_seconds": round(answering.wall / len(examples), 4),
        "answer_cpu_seconds": round(answering.cpu / len(examples), 4),
        "peak_gb": round(memory.peak / 1e9, 3),
        "customize_peak_gb": round(made.peak_memory / 1e9, 3),
        "prompt_tokens": round(sum(answer.prompt_tokens for answer in answers) / len(answers)),
        "answer_tokens": round(sum(answer.new_tokens for answer in answers) / len(answers)),
    }


class _Clock:
    """Seconds of the wall, and of the processor: other work makes only the first longer."""

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()
        self.wall = self.cpu = 0.0

    def stop(self) -> None:
        self.wall = time.perf_counter() - self.began[0]
        self.cpu = time.process_time() - self.began[1]


if __name__ == "__main__":
    main()
