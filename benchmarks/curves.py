"""Loss curves beside TRL's: `python benchmarks/curves.py --curve 40 --peer-python PYTHON --json`.

LoRA on thimble and the starter's examples: sartor's own loop with all that makes it fast, then
TRL's `SFTTrainer` with padded batches and no packing, from the same adapters, on the same batches
in the same order at the same learning rates. Prints the loss of every step of both. Differences in
float32 are rounding; `--precision bfloat16` has those of bfloat16, and sartor's own between two
sizes of pack beside them. TRL needs `trl` and `datasets`, which sartor does not: name a Python that
has them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

RATE, RANK, BATCH, HELD = 2e-3, 16, 4, 20
EXAMPLES = Path(__file__).resolve().parents[1] / "src/sartor/starters/ecommerce/examples.jsonl"
PEER = """
import json, sys, tempfile, warnings
warnings.filterwarnings("ignore")
import torch; torch.set_num_threads(1)
import datasets, peft, transformers
from safetensors.torch import load_file
from trl import SFTConfig, SFTTrainer
folder, given = sys.argv[1], json.load(open(sys.argv[1] + "/given.json"))
datasets.disable_progress_bars(); transformers.logging.set_verbosity_error()
half = given["precision"] == "bfloat16"
tokenizer = transformers.AutoTokenizer.from_pretrained(given["base"])
base = transformers.AutoModelForCausalLM.from_pretrained(
    given["base"], dtype=torch.bfloat16 if half else torch.float32)
model = peft.get_peft_model(base, peft.LoraConfig(r=given["rank"], lora_alpha=given["alpha"],
    lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"))
first = load_file(folder + "/first.safetensors")
trained = {n.removeprefix("base_model.model."): p for n, p in model.named_parameters()
           if p.requires_grad}
assert trained.keys() == first.keys(), (len(trained), len(first))
with torch.no_grad():
    for name, parameter in trained.items():
        parameter.copy_(first[name])
rows = datasets.Dataset.from_list([{"input_ids": r["tokens"], "completion_mask":
    [0] * r["prompt"] + [1] * (len(r["tokens"]) - r["prompt"])} for r in given["rows"]])
rates = given["rates"]
optimizer = torch.optim.AdamW(trained.values(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.0)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: rates[min(s, len(rates) - 1)])
config = SFTConfig(output_dir=tempfile.mkdtemp(), max_steps=len(rates), max_grad_norm=1.0,
    per_device_train_batch_size=given["batch"], gradient_checkpointing=False, bf16=half,
    completion_only_loss=True, packing=False, padding_free=False, max_length=None, use_cpu=True,
    report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True, seed=0,
    train_sampling_strategy="sequential", dataloader_pin_memory=False)
class Told(SFTTrainer):
    losses = []
    def training_step(self, *given, **more):
        loss = super().training_step(*given, **more)
        Told.losses.append(float(loss))
        return loss
Told(model=model, args=config, train_dataset=rows, processing_class=tokenizer,
     optimizers=(optimizer, schedule)).train()
print(json.dumps(Told.losses))
"""


class Recorded:
    """The usual course of training, with what TRL must be given to do the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[tuple[Sequence[Any], float]] = []
        self.rates: list[float] = []

    def course(self, trainable: Any, data: Any, options: Any, directory: Path, what: str) -> Any:
        from safetensors.torch import save_file

        from sartor.training.loop import train
        from sartor.training.passes import Passes
        from sartor.training.state import Values

        first = {n: p.detach().clone() for n, p in trainable.parameters.items()}
        save_file(first, self.folder / "first.safetensors")
        gradients, step = Passes.gradients, Values.step

        def told(passes: Any, batch: Sequence[Any], *more: Any) -> Any:
            found = gradients(passes, batch, *more)
            self.steps.append((batch, found[0]))
            return found

        def moved(values: Any, rate: float) -> None:
            self.rates.append(rate)
            step(values, rate)

        Passes.gradients, Values.step = told, moved  # type: ignore[method-assign]
        try:
            return train(trainable, data, options, directory, what)
        finally:
            Passes.gradients, Values.step = gradients, step  # type: ignore[method-assign]


def ours(steps: int, precision: str, pack_tokens: int, folder: Path) -> Recorded:
    """Train in this process."""
    from sartor.data.records import Example, Message, TrainingData
    from sartor.models import base_card
    from sartor.techniques.lora import LoRA

    rows = [json.loads(line) for line in EXAMPLES.read_text("utf-8").split("\n") if line]
    examples = [
        Example(str(i), (Message("user", row["input"]),), (str(row["output"]),))
        for i, row in enumerate(rows)
    ]
    train, held = examples[HELD:], examples[:HELD]
    technique = LoRA(
        rank=RANK, alpha=2.0 * RANK, learning_rates=(RATE,), batch_size=BATCH, looks=1,
        epochs=steps * BATCH / len(train), pack_tokens=pack_tokens,
        precision="float32" if precision == "float32" else "auto",
    )  # fmt: skip
    recorded = Recorded(folder)
    data = TrainingData((), tuple(train), tuple(held))
    technique.fit(base_card.describe("thimble"), data, folder / "made", course=recorded)
    return recorded


def theirs(recorded: Recorded, precision: str, python: str, folder: Path) -> list[float]:
    """TRL in a process of its own."""
    from sartor.models import base_card

    rows = [
        {"tokens": example.tokens, "prompt": example.prompt}
        for batch, _ in recorded.steps
        for example in batch
    ]
    given = {
        "base": base_card.describe("thimble").path, "rank": RANK, "alpha": 2 * RANK, "batch": BATCH,
        "precision": precision, "rates": recorded.rates, "rows": rows,
    }  # fmt: skip
    (folder / "given.json").write_text(json.dumps(given))
    command = [python, "-c", PEER, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the peer failed:\n{done.stderr[-2000:]}")
    losses: list[float] = json.loads(done.stdout.splitlines()[-1])
    return losses


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both curves, and how far apart they are."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recorded = ours(arguments.curve, arguments.precision, 2048, folder)
        peer = theirs(recorded, arguments.precision, arguments.peer_python, folder)
        other = ours(arguments.curve, arguments.precision, 256, folder)
    own = [loss for _, loss in recorded.steps]
    return {
        "precision": arguments.precision,
        "steps": len(own),
        "sartor": [round(loss, 6) for loss in own],
        "trl": [round(loss, 6) for loss in peer],
        **_apart("to_trl", own, peer),
        **_apart("to_itself_in_smaller_packs", own, [loss for _, loss in other.steps]),
    }


def _apart(name: str, one: list[float], other: list[float]) -> dict[str, float]:
    apart = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return {
        f"largest_difference_{name}": max(apart),
        f"mean_difference_{name}": sum(apart) / len(apart),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curve", type=int, default=40, metavar="N", help="steps")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--json", action="store_true", help="it is always JSON")
    arguments = parser.parse_args()
    probe = [arguments.peer_python, "-c", "import trl, datasets"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        sys.exit("skipped: the peer needs trl and datasets (--peer-python)")
    print(json.dumps(compare(arguments), indent=2))


if __name__ == "__main__":
    main()
