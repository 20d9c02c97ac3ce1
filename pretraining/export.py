"""Write a checkpoint as the shipped model: `python export.py --run DIR --prepared DIR --out DIR`."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from initialise import build, config
from train import step_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tensors = load_file(args.run / "checkpoint.safetensors")
    layers = 1 + max(int(n.split(".")[3]) for n in tensors if n.startswith("model.model.layers."))
    vocabulary = json.loads((args.prepared / "prepared.json").read_text())["vocabulary"]
    model = build(config(vocabulary, layers), 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    model.config.architectures = ["LlamaForCausalLM"]
    model.to(torch.bfloat16).save_pretrained(args.out)
    for path in sorted((args.prepared / "tokenizer").iterdir()):
        shutil.copy(path, args.out / path.name)
    print(json.dumps({"step": step_of(args.run / "checkpoint.safetensors"), "out": str(args.out)}))


if __name__ == "__main__":
    main()
