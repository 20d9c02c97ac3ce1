"""Training speed beside TRL's: `python benchmarks/training.py --size small --json`.

Pairs of runs, sartor and its peer in turn, on the model and data that ../shared/bench makes (random
weights: they change no speed): tokens, padding not counted, per second of processor time on one
thread. The peer is TRL's `SFTTrainer` at its best settings there (no padding, weights in bfloat16
where the processor multiplies it, else in float32, as sartor does), once as it is and once patched
to score answers only on a CPU too. It needs `trl` and `datasets`,
which sartor does not: name a Python that has them with --peer-python. Without ../shared, or without
them, it says so and does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
BATCH = {"small": 4, "big": 2}
"""Examples a step for the peer, where it is fastest, and for memory."""
OURS = 8
METHODS = ("lora", "full", "p-tuning")
WARM = 2


def data(size: str, shared: bool, folder: Path) -> Path:
    """Model and examples, made if they are not there."""
    made = folder / (f"{size}-shared" if shared else size)
    if not (made / "ids.json").is_file():
        words = ["--shared", "300"] if shared else []
        command = [sys.executable, str(BENCH / "gen.py"), "--size", size, "--out", str(made)]
        subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)
    return made


def ours(folder: Path, method: str, batch: int, steps: int, threads: int) -> dict[str, Any]:
    """Train in this process; what it took."""
    from sartor.models import base_card, libraries

    libraries.require_transformers()  # before torch, as in a run
    import torch

    torch.set_num_threads(threads)
    from sartor.training.packing import Encoded
    from sartor.training.passes import Passes
    from sartor.training.processes import ALONE
    from sartor.training.settings import TrainingSettings
    from sartor.training.state import State, Values
    from sartor.training.tricks import use_tricks

    torch.manual_seed(0)
    trainable = _trainable(base_card.describe(str(folder / "model")), method)
    settings = TrainingSettings()
    use_tricks(trainable.network, settings)
    reading = trainable.reading(settings.pack_size)
    passes, state = Passes(trainable, reading, settings, method, ALONE), State()
    trained = {"params": list(trainable.parameters.values()), "times": 1.0}
    optimizer = torch.optim.AdamW([trained], weight_decay=0.0, fused=True)  # as the peer has it
    values = Values(trainable.parameters, {}, optimizer)
    rows = json.loads((folder / "ids.json").read_text())
    examples = [Encoded(str(i), (*r["p"], *r["c"]), len(r["p"])) for i, r in enumerate(rows)]
    groups: dict[int, list[Encoded]] = {}
    for row, example in zip(rows, examples, strict=True):
        groups.setdefault(row["g"], []).append(example)
    if len(groups) < len(examples):  # those that share a document, one after another
        examples = [example for group in groups.values() for example in group]
    elif batch in BATCH.values():  # as many a step as the peer: the examples it has, in its order
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))
        examples = [examples[place] for place in order.tolist()]
    losses, rates, walls = [], [], []
    for step in range(WARM + steps):
        part = examples[step * batch % len(examples) :][:batch]
        began, clock = time.process_time(), time.perf_counter()
        loss, _ = passes.gradients(sorted(part, key=lambda e: len(e.tokens)), state, values)
        values.step(2e-4)
        losses.append(loss)
        count = sum(len(e.tokens) for e in part)
        rates.append((count, time.process_time() - began))
        walls.append((count, time.perf_counter() - clock))
    return {
        "tokens_per_cpu_second": _rate(rates),
        "tokens_per_second": _rate(walls),
        "loss": losses[0],
        "loss_after": losses[-1],
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }


def _rate(steps: list[tuple[int, float]]) -> float:
    """Tokens a second over all steps after the first ones, as the peer counts it."""
    return sum(tokens for tokens, _ in steps[WARM:]) / sum(seconds for _, seconds in steps[WARM:])


def _trainable(card: Any, method: str) -> Any:
    import torch

    from sartor.models import local
    from sartor.techniques.lora import LoRA
    from sartor.techniques.p_tuning import PTuning
    from sartor.techniques.virtual_tokens import embedded
    from sartor.techniques.weights import adapted
    from sartor.training.loop import Trainable

    half, virtual = local.has_bf16(), None
    dtype = torch.bfloat16 if half and method != "full" else torch.float32
    network = local.load_network(card, dtype)
    if method == "lora":
        technique = LoRA()
        trained = adapted("lora", network, technique.configured(network)).parameters
    elif method == "full":
        trained = dict(network.named_parameters())
    else:
        network.requires_grad_(False)
        virtual = PTuning(virtual_tokens=20)._module(embedded(network, list(range(10, 30))))
        trained = dict(virtual.named_parameters())
    return Trainable(network, None, trained, card.context, virtual, mixed_precision=half)


def peer(folder: Path, python: str, arguments: argparse.Namespace, patched: bool) -> dict[str, Any]:
    """TRL in a process of its own."""
    from sartor.models import local

    method = {"p-tuning": "ptuning"}.get(arguments.method, arguments.method)
    command = [
        python, str(BENCH / "peer_sft.py"), "--data", str(folder), "--size", arguments.size,
        "--preset", "padfree" if method != "ptuning" else "best",
        "--threads", str(arguments.threads), "--bs", str(BATCH[arguments.size]),
        "--steps", str(WARM + arguments.steps),
        "--method", method, "--amp", "weights" if local.has_bf16() else "off",
        *(["--patched"] if patched else []),
    ]  # fmt: skip
    told = _run(command, arguments.threads)
    row: dict[str, Any] = json.loads(told.splitlines()[-1])
    return {
        "tokens_per_cpu_second": row["tok_per_cpu_s"],
        "tokens_per_second": row["tok_s"],
        "loss": row["loss0"],
        "loss_after": row["loss_final"],
        "peak_memory": row["peak_rss_mb"] << 20,
    }


def mine(folder: Path, arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    """`ours` in a process of its own."""
    words = ["--side", str(folder), "--method", arguments.method, "--batch", str(batch)]
    command = [sys.executable, __file__, *words, "--steps", str(arguments.steps)]
    command += ["--threads", str(arguments.threads)]
    found: dict[str, Any] = json.loads(_run(command, arguments.threads).splitlines()[-1])
    return found


def _run(command: list[str], threads: int) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pairs in turn; medians and ratios."""
    from sartor.models import local

    folder = data(arguments.size, arguments.shared, arguments.data)
    sides: dict[str, list[dict[str, Any]]] = {"sartor": [], "trl_stock": [], "trl_patched": []}
    small = mine(folder, arguments, BATCH[arguments.size])  # as many examples a step as the peer
    for pair in range(arguments.pairs):
        print(f"pair {pair + 1} of {arguments.pairs}", file=sys.stderr)
        sides["sartor"].append(mine(folder, arguments, OURS))
        sides["trl_stock"].append(peer(folder, arguments.peer_python, arguments, False))
        sides["sartor"].append(mine(folder, arguments, OURS))
        sides["trl_patched"].append(peer(folder, arguments.peer_python, arguments, True))
    speed = {name: median(r["tokens_per_cpu_second"] for r in rows) for name, rows in sides.items()}
    wall = {name: median(r["tokens_per_second"] for r in rows) for name, rows in sides.items()}
    memory = {name: median(r["peak_memory"] for r in rows) for name, rows in sides.items()}
    alone = {}
    if arguments.shared:  # beside what sartor itself does where nothing is shared
        other = data(arguments.size, False, arguments.data)
        apart = [mine(other, arguments, OURS)["tokens_per_cpu_second"] for _ in sides["trl_stock"]]
        alone = {"ratio_not_shared": round(speed["sartor"] / median(apart), 2)}
    return {
        "size": arguments.size,
        "method": arguments.method,
        "shared": arguments.shared,
        "precision": "bfloat16" if local.has_bf16() else "float32",
        **{name: round(value, 1) for name, value in speed.items()},
        "ratio_stock": round(speed["sartor"] / speed["trl_stock"], 2),
        "ratio_patched": round(speed["sartor"] / speed["trl_patched"], 2),
        "peak_memory_ratio": round(small["peak_memory"] / memory["trl_patched"], 2),
        "threads": arguments.threads,
        "wall": {name: round(value, 1) for name, value in wall.items()},
        "wall_ratio_stock": round(wall["sartor"] / wall["trl_stock"], 2),
        "wall_ratio_patched": round(wall["sartor"] / wall["trl_patched"], 2),
        **alone,
        "peak_memory": small["peak_memory"],
        "loss_difference": abs(small["loss"] - sides["trl_stock"][0]["loss"]),
        "loss_difference_after": abs(small["loss_after"] - sides["trl_stock"][0]["loss_after"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=list(BATCH), default="small")
    parser.add_argument("--method", choices=METHODS, default="lora")
    parser.add_argument("--shared", action="store_true", help="eight examples share a document")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="2: read the wall figures")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--data", type=Path, default=Path(".bench"))
    parser.add_argument("--json", action="store_true", help="it is always JSON")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=OURS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side = ours(
            arguments.side, arguments.method, arguments.batch, arguments.steps, arguments.threads
        )
        print(json.dumps(side))
        return
    if not (BENCH / "peer_sft.py").is_file():
        sys.exit(f"skipped: there is no {BENCH}, with the peer's side of this benchmark")
    probe = [arguments.peer_python, "-c", "import trl, datasets"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        sys.exit("skipped: the peer needs trl and datasets (--peer-python)")
    arguments.data = arguments.data.resolve()
    print(json.dumps(compare(arguments), indent=2))


if __name__ == "__main__":
    main()
