"""Other engines' side of benchmarks/generation.py, in a process and a Python of their own.

`python benchmarks/generation_peers.py ENGINE FOLDER PROMPTS NEW BATCH` prints one JSON line: output
tokens per second of processor time on one thread. Knows nothing of sartor, so that it runs where
only the engine is installed. Every engine writes exactly NEW tokens after each prompt, greedily.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from generation_llama_cpp import llama_cpp, names

Prompts = list[list[int]]
Answers = list[list[int]]


def transformers(folder: Path, dtype: str, batch: int) -> Callable[[Prompts, int], Answers]:
    """`generate` on batches of like lengths, padded on the left: its best here."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    network.generation_config.eos_token_id = None

    def answer(prompts: Prompts, new: int) -> Answers:
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        answers: dict[int, list[int]] = {}
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            longest = len(prompts[some[0]])
            pads = [longest - len(prompts[i]) for i in some]
            ids = [[0] * pad + prompts[i] for i, pad in zip(some, pads, strict=True)]
            mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
            with torch.inference_mode():
                written = network.generate(
                    input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask),
                    max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0,
                )  # fmt: skip
            answers |= dict(zip(some, written[:, longest:].tolist(), strict=True))
        return [answers[i] for i in range(len(prompts))]

    return answer


def ctranslate2(folder: Path, kind: str, batch: int) -> Callable[[Prompts, int], Answers]:
    """Its generator on batches that it sorts itself, from weights of its own converter."""
    engine: Any = import_module("ctranslate2")

    converted = folder.parent / "ctranslate2"
    if not converted.is_dir():
        engine.converters.TransformersConverter(str(folder)).convert(str(converted))
    generator = engine.Generator(
        str(converted), device="cpu", compute_type=kind, inter_threads=1, intra_threads=1
    )
    named = names(folder)

    def answer(prompts: Prompts, new: int) -> Answers:
        found = generator.generate_batch(
            [[named[token] for token in prompt] for prompt in prompts], max_batch_size=batch,
            max_length=new, min_length=new, sampling_topk=1, beam_size=1, end_token=[],
            include_prompt_in_result=False,
        )  # fmt: skip
        return [result.sequences_ids[0] for result in found]

    return answer


def _llama_cpp(folder: Path, kind: str, batch: int) -> Callable[[Prompts, int], Answers]:
    """It keeps batches of its own sizes."""
    return llama_cpp(folder, kind)


ENGINES: dict[str, tuple[Callable[..., Any], str]] = {
    "transformers": (transformers, "float32"),
    "transformers_bfloat16": (transformers, "bfloat16"),
    "ctranslate2": (ctranslate2, "float32"),
    "ctranslate2_int8": (ctranslate2, "int8"),
    "llama_cpp": (_llama_cpp, "bf16"),
    "llama_cpp_f32": (_llama_cpp, "f32"),
}
"""Name -> how to start it, and the kind of numbers it works in."""


def main() -> None:
    name, folder, prompts_file, new, batch = sys.argv[1:]
    prompts: Prompts = json.loads(Path(prompts_file).read_text())
    start, kind = ENGINES[name]
    answer = start(Path(folder), kind, int(batch))
    answer([prompt[:16] for prompt in prompts[:2]], 2)  # warm
    began = time.process_time()
    answers = answer(prompts, int(new))
    seconds = time.process_time() - began
    written = sum(map(len, answers))
    assert written == len(prompts) * int(new), f"{name} wrote {written} tokens"
    print(json.dumps({"tokens_per_cpu_second": written / seconds, "answers": answers}))


if __name__ == "__main__":
    main()
