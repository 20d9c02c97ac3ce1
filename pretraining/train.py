"""Train thimble: `python train.py --prepared DIR --out DIR --steps N [--decay N]`.

AdamW on embeddings and norms, Muon (Jordan et al. 2024) on the matrices; bf16 autocast; the learning
rate is warmed up, held, and at the end decayed to nothing over the last `--decay` steps, so that the
end can be chosen late (arXiv:2405.18392). A checkpoint every few minutes; the same command goes on from it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from batches import batch, load
from initialise import build, config


def optimizers(model: nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    return [
        torch.optim.Muon(
            matrices, lr=learning_rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def factor(step: int, steps: int, decay: int, warmup: int = 60) -> float:
    return min(1.0, (step + 1) / warmup, max(0.0, (steps - step) / decay))


def save(path: Path, model: nn.Module, optims: list[torch.optim.Optimizer], step: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{n}": p.detach().contiguous() for n, p in model.named_parameters()}
    for i, optimizer in enumerate(optims):
        for j, p in enumerate(optimizer.param_groups[0]["params"]):
            tensors |= {
                f"optimizer.{i}.{j}.{k}": torch.as_tensor(v).float().contiguous()
                for k, v in optimizer.state[p].items()
            }
    temporary = path / "checkpoint.tmp"
    save_file(tensors, temporary, metadata={"step": str(step)})
    temporary.rename(path / "checkpoint.safetensors")


def restore(path: Path, model: nn.Module, optims: list[torch.optim.Optimizer]) -> None:
    tensors = load_file(path)
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(tensors[f"model.{n}"])
    for i, optimizer in enumerate(optims):
        for j, p in enumerate(optimizer.param_groups[0]["params"]):
            prefix = f"optimizer.{i}.{j}."
            optimizer.state[p] = {
                k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
            }


def step_of(path: Path) -> int:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--decay", type=int, default=600)
    parser.add_argument(
        "--horizon", type=int, default=4000, help="steps over which the mix of tasks changes"
    )
    parser.add_argument("--tokens", type=int, default=8192, help="tokens a step")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument(
        "--plain", action="store_true", help="random first weights, without the copying circuit"
    )
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = load(args.prepared)
    model = build(
        config(data.tokenizer.get_vocab_size(), args.layers), args.seed, circuits=not args.plain
    )
    optims = optimizers(model, args.learning_rate)
    checkpoint = args.out / "checkpoint.safetensors"
    start = 0
    if checkpoint.exists():
        restore(checkpoint, model, optims)
        start = step_of(checkpoint)
    body, head = torch.compile(model.model, dynamic=False), model.lm_head
    torch._dynamo.config.recompile_limit = 32  # one graph a row length
    args.out.mkdir(parents=True, exist_ok=True)
    log = args.out / "log.jsonl"
    began, seen, sums = time.time(), 0, []
    for step in range(start, args.steps):
        ids, labels = batch(data, args.seed, step, step / args.horizon, args.tokens)
        scored = labels >= 0
        with torch.autocast("cpu", torch.bfloat16):
            hidden = body(input_ids=ids, use_cache=False).last_hidden_state
            logits = head(hidden[scored])  # (scored tokens, vocabulary)
        loss = nn.functional.cross_entropy(logits.float(), labels[scored])
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optims:
            for group in optimizer.param_groups:
                group["lr"] = args.learning_rate * factor(step, args.steps, args.decay)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += ids.numel()
        sums.append(loss.item())
        if (step + 1) % 20 == 0:
            row = {"step": step + 1, "loss": round(sum(sums) / len(sums), 4), "norm": round(norm.item(), 2),
                   "tokens_per_second": round(seen / (time.time() - began)), "seconds": round(time.time() - began)}  # fmt: skip
            print(json.dumps(row), flush=True)
            with log.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            sums = []
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            save(args.out, model, optims, step + 1)


if __name__ == "__main__":
    main()
