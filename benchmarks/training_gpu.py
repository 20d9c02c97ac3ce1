"""Training speed on a GPU beside TRL's: `python benchmarks/training_gpu.py --size 8b --json`.

LoRA in bfloat16 on models of Llama's architecture that are made from their configuration (random
weights: they change no speed), on examples of long prompts and short answers. Pairs of runs in
turn, each in a process of its own, on one GPU; the peer is TRL's `SFTTrainer` at whichever of its
settings is fastest here (training_gpu_peer.py: packing, padding-free or sorted by length; in its
mixed precision or not; then with torch.compile). It takes FlashAttention and Liger where its Python
has them: `trl_lacks` names what it has not, and then it is not at its best. Tokens are counted
without padding.

`mfu` is the operations that LoRA's step needs (of frozen weights the products forward and those
that hand gradients back, the last block and the head at scored places, causal attention) by what
the GPU can do in the time, as devices.toml has it or `--tflops` says; `mfu_6n` counts six
operations a weight and token, as is usual where all weights train. `--size tiny` runs on a CPU, to
see that all works: it compares nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    "1b": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
    },
    "8b": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    },
    "tiny": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512,
    },
}  # fmt: skip
"""Llama 3.2 1B, Llama 3.1 8B, and what a CPU can run."""
PEER = Path(__file__).with_name("training_gpu_peer.py")
PEER_SETTINGS = tuple(
    layout + mixed
    for layout in ("packing", "padding_free", "by_length")
    for mixed in ("", ",mixed")
)
PEER_LIBRARIES = ("flash_attn", "liger_kernel")
WARM = 5
RANK = 16


def configuration(size: str) -> dict[str, Any]:
    """Of a LlamaConfig."""
    return {
        "vocab_size": 128_256, "max_position_embeddings": 8192, "rope_theta": 500_000.0,
        "tie_word_embeddings": size == "1b", "pad_token_id": 0, "eos_token_id": 1,
        "bos_token_id": 2, **SIZES[size],
    }  # fmt: skip


def examples(size: str, count: int = 256) -> list[dict[str, list[int]]]:
    """Prompts of 300 to 2,400 tokens, answers of 20 to 150; in the tiny one a twentieth."""
    drawn, scale = random.Random(0), 0.05 if size == "tiny" else 1.0
    words = configuration(size)["vocab_size"]
    lengths = [
        (int(scale * 300 * 8 ** drawn.random()), int(scale * drawn.uniform(20, 150)))
        for _ in range(count)
    ]
    return [
        {"p": [drawn.randrange(3, words) for _ in range(prompt)],
         "c": [drawn.randrange(3, words) for _ in range(max(2, answer))]}
        for prompt, answer in lengths
    ]  # fmt: skip


def operations(size: str, rows: list[dict[str, list[int]]]) -> tuple[float, float]:
    """What training on these needs, and by six operations a weight and token."""
    c = configuration(size)
    width, heads = c["hidden_size"], c["num_attention_heads"] * c["head_dim"]
    keys = c["num_key_value_heads"] * c["head_dim"]
    seen, rest = width * 2 * keys, width * (2 * heads + 3 * c["intermediate_size"])
    whole = c["num_hidden_layers"] * (seen + rest)
    head = width * c["vocab_size"]
    needed = usual = 0.0
    for row in rows:
        answer, tokens = len(row["c"]), len(row["p"]) + len(row["c"])
        attention = 6 * tokens**2 * heads * c["num_hidden_layers"]
        needed += 4 * ((whole - rest) * tokens + (rest + head) * answer) + attention
        usual += 6 * (whole + head) * tokens + attention
    return needed, usual


def ours(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in this process; what it took."""
    from sartor.models import libraries, local

    libraries.require_transformers()
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from sartor.techniques.lora import LoRA
    from sartor.techniques.weights import adapted
    from sartor.training.loop import Trainable
    from sartor.training.packing import Encoded
    from sartor.training.passes import Passes
    from sartor.training.processes import ALONE
    from sartor.training.settings import TrainingSettings
    from sartor.training.state import State, Values
    from sartor.training.tricks import use_tricks

    torch.manual_seed(0)
    config = LlamaConfig(**configuration(arguments.size))
    with local.device():
        network = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    network.requires_grad_(False)
    technique = LoRA(rank=RANK)
    trained = adapted("lora", network, technique.configured(network)).parameters
    context = config.max_position_embeddings
    trainable = Trainable(network, None, trained, context, None, mixed_precision=True)
    settings = TrainingSettings()
    use_tricks(network, settings)
    reading = trainable.reading(settings.pack_size)
    passes, state = Passes(trainable, reading, settings, "lora", ALONE), State()
    groups = [{"params": list(trained.values()), "times": 1.0}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
    values = Values(trained, {}, optimizer)
    steps = []
    for step in range(WARM + arguments.steps):
        part = _step(arguments, step)
        encoded = [Encoded(str(i), (*r["p"], *r["c"]), len(r["p"])) for i, r in enumerate(part)]
        began = _now()
        loss, _ = passes.gradients(sorted(encoded, key=lambda e: len(e.tokens)), state, values)
        values.step(2e-4)
        steps.append({"seconds": _now() - began, "loss": loss, "rows": part})
    return _told(arguments.size, steps)


def _now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _told(size: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    import torch

    counted = steps[WARM:]
    rows = [row for step in counted for row in step["rows"]]
    seconds = sum(step["seconds"] for step in counted)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return {
        "tokens_per_second": sum(len(r["p"]) + len(r["c"]) for r in rows) / seconds,
        "loss": steps[0]["loss"],
        "peak_memory": peak,
    }


def able(arguments: argparse.Namespace) -> float | None:
    """What the GPU can do, in operations a second; None on a CPU, or where devices.toml does not
    say."""
    import torch

    from sartor.models import devices

    if arguments.tflops:
        return float(arguments.tflops) * 1e12
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    words = re.split(r"[\s-]+", name)
    found = [device.tflops for device in devices.devices() if device.name in words]
    if "PCIe" in words or len(found) != 1:  # PCIe's cards are slower than the table's
        return None
    return found[0] * 1e12


def mine(arguments: argparse.Namespace) -> dict[str, Any]:
    """`ours` in a process of its own."""
    found: dict[str, Any] = _run([sys.executable, __file__, "--side", *_words(arguments)])
    return found


def peer(arguments: argparse.Namespace, settings: str, folder: Path) -> dict[str, Any]:
    """TRL in a process of its own; why not, where it does not run with these settings."""
    data, config = folder / "rows.json", folder / "config.json"
    data.write_text(json.dumps(examples(arguments.size)), "utf-8")
    config.write_text(json.dumps(configuration(arguments.size)), "utf-8")
    told = [str(PEER), str(data), str(config), settings, str(WARM), str(RANK)]
    return _run([arguments.peer_python, *told, *_words(arguments)[2:]], may_fail=True)


def _words(arguments: argparse.Namespace) -> list[str]:
    words = ["--size", arguments.size, "--steps", str(arguments.steps)]
    return [*words, "--batch", str(arguments.batch)]


def _run(command: list[str], *, may_fail: bool = False) -> dict[str, Any]:
    one = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **one}
    )
    if done.returncode and not may_fail:
        sys.exit(f"{' '.join(command[:2])} failed:\n{done.stderr[-2000:]}")
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["?"])[-1]}
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The peer's fastest settings, then pairs in turn; medians and ratios."""
    tried = {settings: peer(arguments, settings, folder) for settings in PEER_SETTINGS}
    ran = {name: row for name, row in tried.items() if "failed" not in row}
    if not ran:
        sys.exit(f"the peer runs with none of its settings: {json.dumps(tried, indent=2)}")
    best = max(ran, key=lambda name: ran[name]["tokens_per_second"])
    compiled = f"{best},compile"
    tried[compiled] = peer(arguments, compiled, folder)
    if tried[compiled].get("tokens_per_second", 0.0) > ran[best]["tokens_per_second"]:
        best = compiled
    sides: dict[str, list[dict[str, Any]]] = {"sartor": [], "trl": []}
    for pair in range(arguments.pairs):
        print(f"pair {pair + 1} of {arguments.pairs}", file=sys.stderr)
        sides["sartor"].append(mine(arguments))
        sides["trl"].append(peer(arguments, best, folder))
    rows = [row for step in range(WARM, WARM + arguments.steps) for row in _step(arguments, step)]
    tokens = sum(len(row["p"]) + len(row["c"]) for row in rows)
    speed = {name: median(r["tokens_per_second"] for r in side) for name, side in sides.items()}
    memory = {name: median(r["peak_memory"] for r in side) for name, side in sides.items()}
    most = able(arguments)
    used = {
        name: [round(made * value / tokens / most, 3) for made in operations(arguments.size, rows)]
        if most
        else [None, None]
        for name, value in speed.items()
    }
    return {
        "size": arguments.size,
        **{name: round(value, 1) for name, value in speed.items()},
        "ratio": round(speed["sartor"] / speed["trl"], 2),
        "mfu": {name: found[0] for name, found in used.items()},
        "mfu_6n": {name: found[1] for name, found in used.items()},
        "peak_memory": memory,
        "loss_difference": abs(sides["sartor"][0]["loss"] - tried["padding_free"]["loss"])
        if "padding_free" in ran  # whose first step has the same examples
        else None,
        "trl_lacks": lacking(arguments),
        "trl_settings": best,
        "trl_tried": {
            name: row.get("failed") or round(row["tokens_per_second"], 1)
            for name, row in tried.items()
        },
    }


def lacking(arguments: argparse.Namespace) -> list[str]:
    """What the peer's Python has not of what makes it fast."""
    probe = "import importlib.util, sys; sys.exit(not importlib.util.find_spec(sys.argv[1]))"
    return [
        name
        for name in PEER_LIBRARIES
        if subprocess.run([arguments.peer_python, "-c", probe, name], check=False).returncode
    ]


def _step(arguments: argparse.Namespace, step: int) -> list[dict[str, list[int]]]:
    """The examples of a step; the peer takes them in the same order."""
    rows = examples(arguments.size)
    return rows[step * arguments.batch % len(rows) :][: arguments.batch]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="8b")
    parser.add_argument("--batch", type=int, default=8, help="examples a step")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--tflops", type=float, help="of the GPU, dense in bfloat16")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--json", action="store_true", help="it is always JSON")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(ours(arguments)))
        return
    probe = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    none = subprocess.run([sys.executable, "-c", probe], check=False).returncode
    if none and arguments.size != "tiny":
        sys.exit("skipped: there is no GPU; --size tiny shows on a CPU that it runs")
    probe = "import trl, datasets"
    if subprocess.run([arguments.peer_python, "-c", probe], capture_output=True).returncode:
        sys.exit("skipped: the peer needs trl and datasets (--peer-python)")
    with tempfile.TemporaryDirectory(prefix="sartor-benchmark-") as folder:
        print(json.dumps(compare(arguments, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
