"""What techniques were estimated to take, and what they took: JSON on stdout.

    python benchmarks/estimates.py [--repeats 3] [name ...]

A dozen configurations: techniques, sizes and architectures of bases (random weights, made here from
configurations, with thimble's tokenizer), and lengths. Each is estimated and measured in a process
of its own, so that none inherits another's memory. Both run on one thread and are compared in
seconds of the processor, taken in units of a fixed matrix product that is timed between: other
programs lengthen the wall's seconds by their own, and the processor's where they share a core. What
is compared is time to customize and to give the answers together, and the most memory that the
process held, its libraries included. Of several processes that train together it is those of the
leader, which does all the rest too; `helper_peak_bytes` is what another one held.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from sartor import starters
from sartor.data.collect import collect
from sartor.data.prepare import Preparation, prepare
from sartor.data.records import TrainingData
from sartor.models import base_card, libraries, local, outline
from sartor.models.language_model import Sampling
from sartor.models.memory import PeakMemory

WITHIN_MEMORY, WITHIN_TIME = 0.10, 0.25
ANSWERS, BATCH, NEW_TOKENS = 32, 32, 16
TRAIN, HELD = 200, 16
"""Examples; few, so that a dozen configurations take minutes."""
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-10m": ("llama", {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 10}),
    "llama-50m": (
        "llama",
        {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 14},
    ),
    "llama-134m": (
        "llama",
        {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 18},
    ),
    "qwen3-30m": (
        "qwen3",
        {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "head_dim": 64,
         "num_key_value_heads": 2},
    ),
    "gpt2-25m": ("gpt2", {"n_embd": 512, "n_layer": 8, "n_head": 8, "n_positions": 1024}),
}  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    """A technique on a base."""

    base: str
    technique: str
    settings: dict[str, Any] = field(default_factory=dict)
    max_tokens: int = 6_000
    processes: int = 1
    """That train together, through gloo."""


CONFIGURATIONS = {
    "prompted": Configuration("llama-50m", "zero-shot"),
    "prompted, large": Configuration("llama-134m", "zero-shot"),
    "few-shot": Configuration("llama-10m", "few-shot"),
    "p-tuning": Configuration("llama-50m", "p-tuning"),
    "prefix-tuning": Configuration("llama-10m", "prefix-tuning"),
    "ia3": Configuration("qwen3-30m", "ia3"),
    "lora, thimble": Configuration("thimble", "lora", {"rank": 8}, 20_000),
    "lora, rank 8": Configuration("llama-134m", "lora", {"rank": 8}, 6_000),
    "lora, rank 64": Configuration("llama-50m", "lora", {"rank": 64}),
    "lora, upper layers": Configuration("llama-50m", "lora", {"upper_layers": 4}),
    "lora, gpt-2": Configuration("gpt2-25m", "lora"),
    "lora, small packs": Configuration("qwen3-30m", "lora", {"pack_tokens": 1024}),
    "full": Configuration("llama-50m", "full", {}, 6_000),
    "full, thimble": Configuration("thimble", "full", {}, 20_000),
    "rag+lora": Configuration("llama-10m", "rag+lora", {}, 12_000),
    "full, two processes": Configuration("llama-50m", "full", {}, 6_000, 2),
    "full, two sharded": Configuration("llama-50m", "full", {"sharding": "full"}, 6_000, 2),
    "lora, two processes": Configuration("llama-134m", "lora", {"rank": 8}, 6_000, 2),
    "lora, two sharded": Configuration(
        "llama-134m", "lora", {"rank": 8, "sharding": "full"}, 6_000, 2
    ),
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("names", nargs="*", default=list(CONFIGURATIONS))
    asked.add_argument("--repeats", type=int, default=1, help="in turn; medians are compared")
    asked.add_argument("--only", choices=("estimated", "measured"), help=argparse.SUPPRESS)
    asked.add_argument("--bases", type=Path, help="where the bases are made; else forgotten")
    options = asked.parse_args()
    if options.only:
        does = _estimated if options.only == "estimated" else _measured
        print(json.dumps(does(CONFIGURATIONS[options.names[0]], options.bases)))
        return
    with tempfile.TemporaryDirectory() as folder:
        bases = options.bases or Path(folder)
        rows = [_row(name, bases, options.repeats) for name in options.names]
    print(json.dumps(_summary(rows), indent=2))


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    memory, seconds = ([row[f"{what}_ratio"] for row in rows] for what in ("memory", "time"))
    return {
        "configurations": len(rows),
        "within_memory": sum(abs(ratio - 1) <= WITHIN_MEMORY for ratio in memory),
        "within_time": sum(abs(ratio - 1) <= WITHIN_TIME for ratio in seconds),
        "median_memory_error": round(median(abs(ratio - 1) for ratio in memory), 3),
        "median_time_error": round(median(abs(ratio - 1) for ratio in seconds), 3),
        "rows": rows,
    }


def _row(name: str, bases: Path, repeats: int) -> dict[str, Any]:
    turns = [_turn(name, bases) for _ in range(repeats)]
    found = turns[-1]
    whole = {side: median(_whole(turn[side]) for turn in turns) for side in found}
    peak = {side: median(turn[side]["peak_bytes"] for turn in turns) for side in found}
    row = {
        "name": name,
        "memory_ratio": round(peak["estimated"] / peak["measured"], 3),
        "time_ratio": round(whole["estimated"] / whole["measured"], 3),
        "time_ratios": [
            round(_whole(turn["estimated"]) / _whole(turn["measured"]), 3) for turn in turns
        ],
        **found,
    }
    told = f"{name}: memory {row['memory_ratio']}, time {row['time_ratio']}"
    print(told, file=sys.stderr, flush=True)
    return row


def _whole(told: dict[str, Any]) -> float:
    """In matrix products' worth: a busy neighbour on the same core makes all seconds longer."""
    seconds: float = told["customize_seconds"] + told["answer_seconds"]
    return seconds / float(told["pace"])


def _turn(name: str, bases: Path) -> dict[str, Any]:
    found = {}
    for only in ("estimated", "measured"):
        command = [sys.executable, __file__, name, "--only", only, "--bases", str(bases)]
        processes = CONFIGURATIONS[name].processes if only == "measured" else 1
        leader, *helpers = _told(command, processes)
        found[only] = leader | {f"helper_{k}": v for one in helpers for k, v in one.items()}
    return found


def _told(command: list[str], processes: int) -> list[dict[str, Any]]:
    """What a command prints, run by so many processes at once as torchrun starts them."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    several = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    several |= {"LOCAL_WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **THREADS, **several, "RANK": str(rank)},
        )
        for rank in range(processes)
    ]  # fmt: skip
    told = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{' '.join(command)} failed")
    return [json.loads(text) for text in told]


def _card(name: str, bases: Path) -> Any:
    """The base's card; made at the first call."""
    if name == "thimble":
        return base_card.describe(name)
    folder = bases / name
    if not (folder / "config.json").is_file():
        _make(name, folder)
    return base_card.describe(str(folder))


def _make(name: str, folder: Path) -> None:
    libraries.require_transformers()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, shape = BASES[name]
    tokenizer = local.load_tokenizer(base_card.describe("thimble"))
    config = AutoConfig.for_model(
        kind,
        **{
            "num_attention_heads": shape.get("hidden_size", 512) // 64,
            **shape,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
            **{f"{end}_token_id": n for n, end in enumerate(("pad", "bos", "eos"))},
        },
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _technique(one: Configuration) -> Any:
    """With one learning rate, and no stopping early: the whole of what was planned is done."""
    from sartor.techniques.registry import build

    trained = one.technique.rpartition("+")[2]
    if trained in {"zero-shot", "few-shot"}:
        return build(one.technique, one.settings)
    told = {"max_tokens": one.max_tokens, "learning_rates": (1e-5,), "patience": 100, "looks": 3}
    return build(one.technique, {}, {trained: {**told, **one.settings}})


def _data() -> tuple[TrainingData, list[Any]]:
    folder = starters.FOLDER / "ecommerce"
    found = prepare(collect(folder, ["documents"], ["examples.jsonl"]), Preparation()).split
    training = found.training
    few = replace(training, train=training.train[:TRAIN], validation=training.validation[:HELD])
    examples = random.Random(0).sample(found.test, min(ANSWERS, len(found.test)))
    return few, sorted(examples, key=lambda e: -sum(len(m.content) for m in e.input))


def _estimated(one: Configuration, bases: Path) -> dict[str, Any]:
    from sartor.techniques.estimating.division import meant
    from sartor.techniques.estimating.estimate import estimated

    data, examples = _data()
    card = _card(one.base, bases)
    began, pace = time.perf_counter(), [_pace()]
    with meant(one.processes):
        found = estimated(_technique(one), card, data, len(examples), NEW_TOKENS, NEW_TOKENS)
    pace.append(_pace())
    return {
        "customize_seconds": round(found.seconds_to_customize, 2),
        "answer_seconds": round(found.seconds_per_answer * len(examples), 2),
        "peak_bytes": found.peak_memory_bytes,
        "how": found.how,
        "pace": fmean(pace),
        "probe_seconds": round(time.perf_counter() - began, 1),
    }


def _measured(one: Configuration, bases: Path) -> dict[str, Any]:
    from sartor.techniques import following

    if not following.follows():
        with following.leading():
            return _led(one, bases)
    with PeakMemory(0.01) as memory:
        began = time.process_time()
        following.follow()
    return {"seconds": round(time.process_time() - began, 2), "peak_bytes": memory.peak}


def _led(one: Configuration, bases: Path) -> dict[str, Any]:
    data, examples = _data()
    card, technique = _card(one.base, bases), _technique(one)
    _import_all(card)
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    with tempfile.TemporaryDirectory() as folder, PeakMemory(0.01) as memory:
        pace = [_pace()]
        began = time.process_time()
        made = technique.fit(card, data, Path(folder))
        model = technique.load(made)
        fitted = time.process_time()
        pace.append(_pace())
        writing = 0.0
        answers = []
        for start in range(0, len(examples), BATCH):
            part, started = examples[start : start + BATCH], time.process_time()
            answers += model.generate([example.input for example in part], sampling)
            writing += time.process_time() - started
            pace.append(_pace())
    return {
        "customize_seconds": round(fitted - began, 2),
        "answer_seconds": round(writing, 2),
        "peak_bytes": memory.peak,
        "pace": fmean(pace),
        "customize_peak_bytes": made.peak_memory,
        "parameters": card.parameters,
        "prompt_tokens": round(sum(a.prompt_tokens for a in answers) / len(answers)),
        "new_tokens": round(sum(a.new_tokens for a in answers) / len(answers)),
        "notes": made.notes,
    }


def _import_all(card: Any) -> None:
    """What a run imports once, whatever its candidates: its estimates have done so by then."""
    libraries.require_transformers()
    import peft  # noqa: F401
    import transformers.conversion_mapping  # noqa: F401
    from transformers import AutoModelForCausalLM  # noqa: F401

    outline.empty_network(card, outline.configuration(card))


def _pace() -> float:
    """Seconds of the processor for a fixed matrix product, the median of some."""
    import torch

    matrix = torch.full((768, 768), 0.01)
    found = []
    for _ in range(9):
        began = time.process_time()
        matrix @ matrix
        found.append(time.process_time() - began)
    return median(found)


if __name__ == "__main__":
    main()
