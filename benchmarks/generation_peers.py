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
    names = _names(folder)

    def answer(prompts: Prompts, new: int) -> Answers:
        found = generator.generate_batch(
            [[names[token] for token in prompt] for prompt in prompts], max_batch_size=batch,
            max_length=new, min_length=new, sampling_topk=1, beam_size=1, end_token=[],
            include_prompt_in_result=False,
        )  # fmt: skip
        return [result.sequences_ids[0] for result in found]

    return answer


def llama_cpp(folder: Path, kind: str, batch: int) -> Callable[[Prompts, int], Answers]:
    """Prompts one after another, kin beside kin: it keeps what the next one begins with alike."""
    engine: Any = import_module("llama_cpp")

    file = folder.parent / f"model-{kind}.gguf"
    if not file.is_file():
        to_gguf(folder, file, kind)
    model = engine.Llama(
        str(file), n_ctx=2048, n_batch=512, n_threads=1, n_threads_batch=1, verbose=False
    )

    def answer(prompts: Prompts, new: int) -> Answers:
        answers: dict[int, list[int]] = {}
        for i in sorted(range(len(prompts)), key=lambda i: prompts[i]):
            writing = model.generate(prompts[i], temp=0.0, top_k=1)
            answers[i] = [int(next(writing)) for _ in range(new)]
        return [answers[i] for i in range(len(prompts))]

    return answer


def to_gguf(folder: Path, file: Path, kind: str) -> None:
    """Write a Llama-architecture model in llama.cpp's format; kind f32 or bf16."""
    import numpy
    from safetensors.numpy import load_file

    gguf: Any = import_module("gguf")
    config = json.loads((folder / "config.json").read_text())
    heads, width = config["num_attention_heads"], config["hidden_size"]
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(width // heads)
    names = _names(folder)
    size = config["vocab_size"]
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([names.get(i, f"<unused {i}>") for i in range(size)])
    writer.add_token_types([gguf.TokenType.CONTROL] * 6 + [gguf.TokenType.NORMAL] * (size - 6))
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    mapped = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    stored = {"f32": gguf.GGMLQuantizationType.F32, "bf16": gguf.GGMLQuantizationType.BF16}[kind]
    for name, tensor in load_file(folder / "model.safetensors").items():
        array: Any = tensor.astype(numpy.float32)
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # it rotates neighbours, not halves
            pairs = array.reshape(-1, 2, width // heads // 2, array.shape[1])
            array = pairs.swapaxes(1, 2).reshape(array.shape)
        known = mapped.get_name(name, try_suffixes=(".weight",))
        if array.ndim == 1 or kind == "f32":
            writer.add_tensor(known, array)
        else:
            writer.add_tensor(known, gguf.quants.quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _names(folder: Path) -> dict[int, str]:
    """Token number -> how the tokenizer writes it."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return {number: name for name, number in vocabulary.items()}


ENGINES: dict[str, tuple[Callable[..., Any], str]] = {
    "transformers": (transformers, "float32"),
    "transformers_bfloat16": (transformers, "bfloat16"),
    "ctranslate2": (ctranslate2, "float32"),
    "ctranslate2_int8": (ctranslate2, "int8"),
    "llama_cpp": (llama_cpp, "bf16"),
    "llama_cpp_f32": (llama_cpp, "f32"),
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
