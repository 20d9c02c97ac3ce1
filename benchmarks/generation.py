"""Generation speed beside other engines': `python benchmarks/generation.py --size small --json`.

Runs in turn, sartor, then each peer, on the model and prompts that ../shared/bench makes (random
weights: they change no speed): output tokens per second of processor time on one thread, 32 new
tokens after each prompt. `distinct` prompts have nothing in common; of the `shared` ones eight have
a document in common and all begin with one block of shown examples. Peers: transformers' `generate`
on batches of like lengths, ctranslate2, and llama.cpp through llama-cpp-python with many sequences
in a batch; the last two and `gguf` from --peer-python. A peer that is missing is null, and
`missing` says why. Without ../shared it says so and does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
PEERS = Path(__file__).with_name("generation_peers.py")
PROMPTS = {"small": 48, "big": 16}
BATCH = {"small": 8, "big": 4}
"""Prompts at a time for transformers and ctranslate2, where they are fastest."""
NEW = 32
KINDS = ("distinct", "shared")
BLOCK = 150
"""Tokens that all shared prompts begin with."""
SIDES = ("sartor", "sartor_bfloat16", "sartor_unshared")
ENGINES = (
    "transformers", "transformers_bfloat16", "ctranslate2", "ctranslate2_int8", "llama_cpp",
    "llama_cpp_f32",
)  # fmt: skip
RATIOS = {
    "ratio_transformers": ("distinct", "sartor", "transformers"),
    "ratio_transformers_bfloat16": ("distinct", "sartor_bfloat16", "transformers_bfloat16"),
    "ratio_shared": ("shared", "sartor", "transformers"),
    "ratio_shared_bfloat16": ("shared", "sartor_bfloat16", "transformers_bfloat16"),
    "gain_of_sharing": ("shared", "sartor", "sartor_unshared"),
}
"""Name -> kind of prompts, and whose speed by whose."""
NEEDED = {"ctranslate2": "import ctranslate2", "llama_cpp": "import llama_cpp, gguf, safetensors"}


def data(size: str, folder: Path) -> dict[str, Path]:
    """Model and prompts, made if they are not there: the file of each kind of prompts."""
    rows = {}
    for kind, words in {"distinct": [], "shared": ["--shared", "300"]}.items():
        made = folder / (size if kind == "distinct" else f"{size}-shared")
        if not (made / "ids.json").is_file():
            command = [sys.executable, str(BENCH / "gen.py"), "--size", size, "--out", str(made)]
            subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)
        rows[kind] = json.loads((made / "ids.json").read_text())
    count = PROMPTS[size]
    block = max((row["p"] for row in rows["distinct"]), key=len)[:BLOCK]
    kin = [row for row in rows["shared"] if row["g"] < count // 8]
    groups = [[row["p"] for row in kin if row["g"] == g][:8] for g in range(count // 8)]
    prompts = {
        "distinct": [row["p"] for row in rows["distinct"][:count]],
        "shared": [block + prompt for turn in zip(*groups, strict=True) for prompt in turn],
    }
    files = {}
    for kind, texts in prompts.items():
        files[kind] = folder / f"generation-{size}-{kind}.json"
        files[kind].write_text(json.dumps(texts))
    return files


def ours(side: str, folder: Path, prompts_file: Path, check: bool) -> dict[str, Any]:
    """sartor in this process; with `check`, also how many answers are those that transformers
    gives one by one."""
    from sartor.models import base_card, generation, libraries, local

    libraries.require_transformers()  # before torch, as in a run
    import torch

    torch.set_num_threads(1)
    dtype = torch.bfloat16 if side == "sartor_bfloat16" else torch.float32
    network = local.load_network(base_card.describe(str(folder)), dtype)
    prompts: list[list[int]] = json.loads(prompts_file.read_text())

    def answer(prompts: list[list[int]]) -> list[list[int]]:
        answers: list[list[int]] = [[] for _ in prompts]
        for step in generation.steps(
            network, prompts, max_new_tokens=NEW, ends=frozenset(), share=side != "sartor_unshared"
        ):
            for row, token in step.tokens:
                answers[row].append(token)
        return answers

    answer([prompt[:16] for prompt in prompts[:2]])  # warm
    began = time.process_time()
    answers = answer(prompts)
    seconds = time.process_time() - began
    told: dict[str, Any] = {"tokens_per_cpu_second": sum(map(len, answers)) / seconds}
    if check:
        network.generation_config.eos_token_id = None
        same = 0
        for prompt, found in zip(prompts, answers, strict=True):
            ids = torch.tensor([prompt])
            with torch.inference_mode():
                written = network.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW,
                    do_sample=False, pad_token_id=0,
                )  # fmt: skip
            expected = written[0, len(prompt) :].tolist()
            same += sum(a == b for a, b in zip(found, expected, strict=True))
        told["exact"] = same / (NEW * len(prompts))
    return told


def missing(python: str) -> dict[str, str]:
    """The sides that cannot run, and why."""
    from sartor.models import local

    reasons = {}
    if not local.has_bf16():
        why = "this processor does not multiply in bfloat16"
        reasons = {name: why for name in (*SIDES, *ENGINES) if name.endswith("bfloat16")}
    for name, needed in NEEDED.items():
        done = subprocess.run([python, "-c", needed], capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            reasons |= {e: f"{python}: {''.join(last)}" for e in ENGINES if e.startswith(name)}
    return reasons


def measured(
    name: str, arguments: argparse.Namespace, prompts: Path, check: bool
) -> dict[str, Any]:
    """One side in a process of its own; {"error": why} where it fails."""
    folder = arguments.data / arguments.size / "model"
    if name in SIDES:
        command = [sys.executable, __file__, "--side", name, "--data", str(folder)]
        command += ["--prompts", str(prompts), *(["--check"] if check else [])]
    else:
        python = sys.executable if name.startswith("transformers") else arguments.peer_python
        command = [python, str(PEERS), name, str(folder), str(prompts), str(NEW)]
        command += [str(BATCH[arguments.size])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        if name in SIDES:
            sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
        return {"error": "".join(done.stderr.strip().splitlines()[-1:])}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every side in turn, as often as there are pairs; medians and ratios."""
    files = data(arguments.size, arguments.data)
    lacking = {name: "not asked for" for name in (*SIDES, *ENGINES) if name not in arguments.only}
    lacking |= missing(arguments.peer_python)
    result: dict[str, Any] = {"size": arguments.size, "new_tokens": NEW}
    for kind in arguments.kinds:
        prompts = files[kind]
        rates: dict[str, list[float]] = {name: [] for name in (*SIDES, *ENGINES)}
        exact = None
        for pair in range(arguments.pairs):
            print(f"{kind}: {pair + 1} of {arguments.pairs}", file=sys.stderr)
            for name in rates:
                if name in lacking or (name == "sartor_unshared" and kind == "distinct"):
                    continue
                told = measured(name, arguments, prompts, name == "sartor" and pair == 0)
                if "error" in told:
                    lacking[name] = told["error"]
                    continue
                rates[name].append(told["tokens_per_cpu_second"])
                exact = told.get("exact", exact)
        row: dict[str, Any] = {n: round(median(r), 1) if r else None for n, r in rates.items()}
        row["exact"] = exact
        result[kind] = row
    for name, (kind, one, other) in RATIOS.items():
        if (ratio := _ratio(result.get(kind, {}), one, other)) is not None:
            result[name] = ratio
    result["exact"] = min(result[kind]["exact"] for kind in arguments.kinds)
    result["missing"] = lacking
    return result


def _ratio(row: dict[str, Any], one: str, other: str) -> float | None:
    if row.get(one) is None or row.get(other) is None:
        return None
    return round(row[one] / row[other], 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=list(PROMPTS), default="small")
    parser.add_argument("--pairs", type=int, default=3, help="times each side runs, in turn")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument(
        "--only", nargs="+", choices=(*SIDES, *ENGINES), default=(*SIDES, *ENGINES),
        help="sides to run; sartor is one of them always",
    )  # fmt: skip
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--data", type=Path, default=Path(".bench"))
    parser.add_argument("--json", action="store_true", help="it is always JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--prompts", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        found = ours(arguments.side, arguments.data, arguments.prompts, arguments.check)
        print(json.dumps(found))
        return
    if not (BENCH / "gen.py").is_file():
        sys.exit(f"skipped: there is no {BENCH}, which makes the models of this benchmark")
    arguments.data, arguments.only = arguments.data.resolve(), {"sartor", *arguments.only}
    print(json.dumps(compare(arguments), indent=2))


if __name__ == "__main__":
    main()
