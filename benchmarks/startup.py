"""How soon sartor is at work: `python benchmarks/startup.py --json`.

Seconds of processor time on one thread (the least of some runs, each in a process of its own) until
`sartor` is imported, until `sartor --help` has answered, and until the first optimizer step of LoRA
is made; the last beside TRL's, where --peer-python names a Python that has it and ../shared/bench
its side.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
FIRST_STEP = """
import sys
from sartor.models import base_card, libraries, local
libraries.require_transformers()
import torch
from sartor.techniques.lora import LoRA
from sartor.techniques.weights import adapted
from sartor.training.loop import Trainable
from sartor.training.packing import Encoded
from sartor.training.settings import TrainingSettings
from sartor.training.tricks import use_tricks
card = base_card.describe(sys.argv[1])
network = local.load_network(card, torch.bfloat16 if local.has_bf16() else torch.float32)
trained = adapted("lora", network, LoRA().configured(network)).parameters
use_tricks(network, TrainingSettings())
trainable = Trainable(network, None, trained, card.context, mixed_precision=local.has_bf16())
optimizer = torch.optim.AdamW(trained.values(), lr=2e-4, fused=True)
pack = [Encoded(str(i), tuple(range(6 + i, 306 + i)), 240) for i in range(4)]
loss, scored = trainable.loss(pack)
(loss / scored).backward()
optimizer.step()
"""


def least(command: list[str], runs: int) -> float:
    """Processor seconds of the cheapest of so many runs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return round(min(found), 3)


def peer(python: str, folder: Path, runs: int) -> float:
    """Processor seconds until TRL's first step, as its script tells them."""
    command = [python, str(BENCH / "peer_sft.py"), "--data", str(folder), "--size", "small"]
    command += ["--preset", "padfree", "--patched", "--bs", "4", "--steps", "1", "--warm", "0"]
    command += ["--threads", "1"]
    told = [
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for _ in range(runs)
    ]
    return min(float(json.loads(text.split("\n")[-2])["first_step_cpu_s"]) for text in told)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer-python", help="a Python that has trl and datasets")
    parser.add_argument("--data", type=Path, default=Path(".bench"))
    parser.add_argument("--json", action="store_true", help="it is always JSON")
    arguments = parser.parse_args()
    python = sys.executable
    folder = arguments.data.resolve() / "small"
    model = str(folder / "model") if (folder / "model").is_dir() else "thimble"
    found = {
        "python": least([python, "-c", ""], arguments.runs),
        "import_sartor": least([python, "-c", "import sartor"], arguments.runs),
        "help": least([python, "-m", "sartor", "--help"], arguments.runs),
        "first_step": least([python, "-c", FIRST_STEP, model], arguments.runs),
    }
    if arguments.peer_python and model != "thimble" and (BENCH / "peer_sft.py").is_file():
        found["first_step_trl"] = peer(arguments.peer_python, folder, arguments.runs)
    print(json.dumps({"model": model if model == "thimble" else "small", **found}, indent=2))


if __name__ == "__main__":
    main()
