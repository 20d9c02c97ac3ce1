"""DPO beside TRL's: `python benchmarks/preferences.py --peer-python PYTHON --json`.

Both train the same LoRA adapter from the same values on the same pairs in the same order: first in
float32, for the losses of every step, then in bfloat16, for speed (tokens of prompts and of both
answers, each counted once, per second of processor time on one thread). The model and the requests
are those that ../shared/bench makes; the next row's answer is the rejected one. TRL is at its best
settings there: weights in bfloat16, the reference's log-probabilities computed beforehand, no
checkpointing. It needs `trl` and `datasets`, which sartor does not. Without them, or without
../shared, it says so and does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
BETA, RATE, WARM = 0.1, 1e-3, 2
PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch; torch.set_num_threads(1)
import datasets, peft, tempfile, transformers
from trl import DPOConfig, DPOTrainer
folder, half, batch, steps = sys.argv[1], sys.argv[2] == "bf16", int(sys.argv[3]), int(sys.argv[4])
datasets.disable_progress_bars(); transformers.logging.set_verbosity_error()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder + "/model")
dtype = torch.bfloat16 if half else torch.float32
base = transformers.AutoModelForCausalLM.from_pretrained(folder + "/model", dtype=dtype)
model = peft.PeftModel.from_pretrained(base, folder + "/adapter", is_trainable=True)
pairs = datasets.Dataset.from_list(json.load(open(folder + "/pairs.json"))[: batch * steps])
config = DPOConfig(output_dir=tempfile.mkdtemp(), max_steps=steps, beta=float(sys.argv[5]),
    learning_rate=float(sys.argv[6]),
    per_device_train_batch_size=batch, gradient_checkpointing=False, bf16=False, use_cpu=True,
    precompute_ref_log_probs=True, report_to="none", save_strategy="no", logging_steps=1,
    disable_tqdm=True, lr_scheduler_type="constant", weight_decay=0.0, max_length=None,
    train_sampling_strategy="sequential", dataloader_pin_memory=False)
class Timed(DPOTrainer):
    losses, ends = [], []
    def training_step(self, *given, **more):
        loss = super().training_step(*given, **more)
        Timed.losses.append(float(loss)); Timed.ends.append(time.process_time())
        return loss
DPO = Timed(model=model, args=config, train_dataset=pairs, processing_class=tokenizer)
began = time.process_time()
DPO.train()
ends = [began, *Timed.ends]
print(json.dumps({"losses": Timed.losses, "seconds": [b - a for a, b in zip(ends, ends[1:])]}))
"""


def data(size: str, folder: Path) -> Path:
    """Model, pairs and the adapter that both begin with, made if they are not there."""
    made = folder / f"{size}-pairs"
    if not (made / "ids.json").is_file():
        command = [sys.executable, str(BENCH / "gen.py"), "--size", size, "--out", str(made)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if not (made / "adapter").is_dir():
        lines = [
            json.loads(line) for line in (made / "train.jsonl").read_text().split("\n") if line
        ]
        pairs = [
            {"prompt": a["prompt"], "chosen": a["completion"], "rejected": b["completion"]}
            for a, b in pairwise(lines)
        ]
        (made / "pairs.json").write_text(json.dumps(pairs))
        _begin(made)
    return made


def _begin(made: Path) -> None:
    import peft
    import torch

    from sartor.models import base_card, local

    torch.manual_seed(0)
    network = local.load_network(base_card.describe(str(made / "model")), torch.float32)
    config = peft.LoraConfig(
        r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    peft.get_peft_model(network, config).save_pretrained(str(made / "adapter"))


def ours(folder: Path, half: bool, batch: int, steps: int) -> dict[str, Any]:
    """Train in this process; losses and processor seconds of each step."""
    from sartor.models import base_card, libraries, local

    libraries.require_transformers()
    import peft
    import torch

    torch.set_num_threads(1)
    from sartor.training.fused import use_fused
    from sartor.training.loop import Trainable
    from sartor.training.packed_attention import use_packed_attention
    from sartor.training.packing import packs
    from sartor.training.preferences import DPO

    card = base_card.describe(str(folder / "model"))
    network = local.load_network(card, torch.bfloat16 if half else torch.float32)
    peft.PeftModel.from_pretrained(network, str(folder / "adapter"), is_trainable=True)
    trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
    use_packed_attention(network)
    use_fused(network)
    tokenizer, objective = local.load_tokenizer(card), DPO(beta=BETA)
    trainable = Trainable(
        network, tokenizer, trained, card.context, mixed_precision=half, objective=objective
    )
    rows = json.loads((folder / "pairs.json").read_text())[: batch * steps]
    pairs = [_pair(tokenizer, str(i), row) for i, row in enumerate(rows)]
    objective.refer(trainable.reading(4096), pairs)
    network.train()
    optimizer = torch.optim.AdamW(trained.values(), lr=RATE, weight_decay=0.0)
    losses, seconds, tokens = [], [], []
    for step in range(steps):
        part = pairs[step * batch :][:batch]
        began = time.process_time()
        total = 0.0
        for pack in packs(sorted(part, key=lambda p: len(p.tokens)), 4096):
            loss, _ = trainable.loss(pack)
            (loss / len(part)).backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total / len(part))
        seconds.append(time.process_time() - began)
        tokens.append(sum(len(pair.tokens) for pair in part))
    return {"losses": losses, "seconds": seconds, "tokens": tokens}


def _pair(tokenizer: Any, id: str, row: dict[str, Any]) -> Any:
    """With the tokens that TRL makes of it: the template's end of a turn is an answer's end."""
    from sartor.training.packing import Encoded
    from sartor.training.preferences import Pair

    def tokens(turns: list[Any], *, answer: bool = False) -> tuple[int, ...]:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer)
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    prompt = len(tokens(row["prompt"], answer=True))
    right = Encoded(id, tokens(row["prompt"] + row["chosen"]), prompt)
    rejected = Encoded(id, tokens(row["prompt"] + row["rejected"]), prompt)
    return Pair(id, (*right.tokens, *rejected.tokens[prompt:]), prompt, right, rejected)


def _run(command: list[str]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])[:80]} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Losses once in float32, then speed in pairs of runs in turn."""
    folder = data(arguments.size, arguments.data)
    counts = [str(arguments.batch), str(WARM + arguments.steps)]

    def side(who: str, kind: str) -> dict[str, Any]:
        if who == "trl":
            return _run(
                [
                    arguments.peer_python,
                    "-c",
                    PEER,
                    str(folder),
                    kind,
                    *counts,
                    str(BETA),
                    str(RATE),
                ]
            )
        words = ["--side", str(folder), "--kind", kind, "--batch", counts[0], "--steps", counts[1]]
        return _run([sys.executable, __file__, *words])

    exact = {who: side(who, "fp32") for who in ("sartor", "trl")}
    apart = [abs(a - b) for a, b in zip(*(exact[w]["losses"] for w in exact), strict=True)]
    tokens = exact["sartor"]["tokens"]
    speed: dict[str, list[float]] = {"sartor": [], "trl": []}
    for _ in range(arguments.pairs):
        for who, rates in speed.items():
            seconds = side(who, "bf16")["seconds"]
            rates.append(sum(tokens[WARM:]) / sum(seconds[WARM:]))
    return {
        "size": arguments.size,
        "losses_sartor": [round(loss, 6) for loss in exact["sartor"]["losses"]],
        "losses_trl": [round(loss, 6) for loss in exact["trl"]["losses"]],
        "loss_difference": max(apart),
        **{who: round(median(rates), 1) for who, rates in speed.items()},
        "ratio": round(median(speed["sartor"]) / median(speed["trl"]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=["tiny", "small", "big"], default="small")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=4, help="pairs of answers a step")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--data", type=Path, default=Path(".bench"))
    parser.add_argument("--json", action="store_true", help="it is always JSON")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", default="fp32", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        half = arguments.kind == "bf16"
        print(json.dumps(ours(arguments.side, half, arguments.batch, arguments.steps)))
        return
    if not (BENCH / "gen.py").is_file():
        sys.exit(f"skipped: there is no {BENCH}, which makes this benchmark's data")
    probe = [arguments.peer_python, "-c", "import trl, datasets"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        sys.exit("skipped: the peer needs trl and datasets (--peer-python)")
    arguments.data = arguments.data.resolve()
    print(json.dumps(compare(arguments), indent=2))


if __name__ == "__main__":
    main()
