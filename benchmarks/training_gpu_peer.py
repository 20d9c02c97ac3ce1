"""TRL's side of training_gpu.py, in a Python of its own: one JSON line.

Positional: rows, configuration, settings, steps that warm up, rank.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import tempfile
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig
from tokenizers import Tokenizer, models

trl: Any = import_module("trl")  # which sartor does not need, nor
datasets: Any = import_module("datasets")


def attention(settings: list[str]) -> str:
    """FlashAttention's where it is installed: rows without padding need it."""
    installed = torch.cuda.is_available() and importlib.util.find_spec("flash_attn")
    if installed:
        return "flash_attention_2"
    if torch.cuda.is_available() and "by_length" not in settings:
        raise SystemExit("packing and padding_free need flash_attn, which is not installed")
    return "sdpa"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("configuration", type=Path)
    parser.add_argument("settings")
    parser.add_argument("warm", type=int)
    parser.add_argument("rank", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    told = parser.parse_args()
    settings = told.settings.split(",")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    datasets.disable_progress_bars()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**json.loads(told.configuration.read_text("utf-8")))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation=attention(settings)
        )
    rows = json.loads(told.rows.read_text("utf-8"))
    data = datasets.Dataset.from_list(
        [
            {
                "input_ids": row["p"] + row["c"],
                "completion_mask": [0] * len(row["p"]) + [1] * len(row["c"]),
            }
            for row in rows
        ]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1}, "<pad>")),
        pad_token="<pad>",
        eos_token="</s>",
    )
    packing = "packing" in settings
    length = 4 * max(len(row["p"]) + len(row["c"]) for row in rows)
    mean = sum(len(row["p"]) + len(row["c"]) for row in rows) / len(rows)
    batch = max(1, round(told.batch * mean / length)) if packing else told.batch
    arguments = trl.SFTConfig(
        output_dir=tempfile.mkdtemp(), max_steps=told.warm + told.steps,
        per_device_train_batch_size=batch, learning_rate=2e-4, lr_scheduler_type="constant",
        gradient_checkpointing=False, packing=packing, max_length=length if packing else None,
        padding_free=packing or "padding_free" in settings,
        torch_compile="compile" in settings, bf16="mixed" in settings,
        use_liger_kernel=importlib.util.find_spec("liger_kernel") is not None,
        train_sampling_strategy="group_by_length" if "by_length" in settings else "sequential",
        completion_only_loss=True, use_cpu=not torch.cuda.is_available(), report_to="none",
        save_strategy="no", logging_steps=1, disable_tqdm=True, seed=0, data_seed=0,
    )  # fmt: skip
    adapter = LoraConfig(
        r=told.rank, lora_alpha=2 * told.rank, lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    counts: list[int] = []
    losses: list[float] = []
    seconds: list[float] = []

    class Counting(trl.SFTTrainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            mask = inputs.get("attention_mask")
            counts.append(int(mask.sum() if mask is not None else inputs["input_ids"].numel()))
            loss = super().training_step(model, inputs, *rest, **named)
            losses.append(float(loss))
            return loss

    class Clock(transformers.TrainerCallback):
        began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(now() - self.began)

    trainer = Counting(
        model=model, args=arguments, train_dataset=data, processing_class=tokenizer,
        peft_config=adapter, callbacks=[Clock()],
    )  # fmt: skip
    if "mixed" not in settings:  # PEFT holds adapters in float32, whose products are slow
        trainer.model.to(torch.bfloat16)
    trainer.train()
    warm = told.warm
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    speed = sum(counts[warm:]) / sum(seconds[warm:])
    print(json.dumps({"tokens_per_second": speed, "loss": losses[0], "peak_memory": peak}))


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
