"""llama.cpp's side of benchmarks/generation.py: many sequences in one batch, as its server does.

Through the low-level functions of llama-cpp-python, since its `Llama` writes one sequence at a time
(1.1 to 1.4 times slower here). Prompts that begin alike are decoded once and copied to each other's
sequences, in one cache for all; others have a cache each. Knows nothing of sartor.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any

Prompts = list[list[int]]
Answers = list[list[int]]

ALONE = 32
"""Prompts at a time that share nothing: of 1, 8, 16 and 32 the fastest here."""
KIN = 8
"""Prompts at a time that begin alike: all of one document, and no other's in their cache."""
ALIKE = 32
"""Tokens from which prompts of a group begin alike."""
ROW = 2048
"""Tokens that are decoded at once."""


def llama_cpp(folder: Path, kind: str) -> Callable[[Prompts, int], Answers]:
    """Greedy, from weights in its own format; kind f32 or bf16."""
    file = folder.parent / f"model-{kind}.gguf"
    if not file.is_file():
        to_gguf(folder, file, kind)
    engine: Any = import_module("llama_cpp")
    engine.llama_backend_init()
    engine.llama_log_set(_SILENT.setdefault("log", engine.llama_log_callback(_ignore)), None)
    settings = engine.llama_model_default_params()
    model = engine.llama_model_load_from_file(str(file).encode(), settings)

    def answer(prompts: Prompts, new: int) -> Answers:
        order = sorted(range(len(prompts)), key=lambda i: prompts[i])
        kin = alike([prompts[i] for i in order[:KIN]]) >= ALIKE
        if not kin:
            order.sort(key=lambda i: -len(prompts[i]))
        count = KIN if kin else min(ALONE, len(prompts))
        context = Context(engine, model, count, max(map(len, prompts)) + new, one_cache=kin)
        answers: dict[int, list[int]] = {}
        for start in range(0, len(order), count):
            some = order[start : start + count]
            answers |= zip(some, context.answer([prompts[i] for i in some], new), strict=True)
        return [answers[i] for i in range(len(prompts))]

    return answer


_SILENT: dict[str, Any] = {}
"""What its log goes to, as long as the process lives."""


def _ignore(*_: Any) -> None:
    pass


def alike(prompts: Prompts) -> int:
    """How many tokens all begin with."""
    columns = zip(*prompts, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


class Context:
    """Room for `count` sequences of at most `longest` tokens, and one thread."""

    def __init__(
        self, engine: Any, model: Any, count: int, longest: int, *, one_cache: bool
    ) -> None:
        self.engine = engine
        settings = engine.llama_context_default_params()
        settings.n_ctx = count * -(-longest // 256) * 256
        settings.n_batch, settings.n_seq_max = ROW, count
        settings.n_threads = settings.n_threads_batch = 1
        settings.kv_unified = one_cache
        self.context = engine.llama_init_from_model(model, settings)
        self.memory = engine.llama_get_memory(self.context)
        self.vocabulary = engine.llama_vocab_n_tokens(engine.llama_model_get_vocab(model))
        self.batch = engine.llama_batch_init(ROW, 0, 1)
        self.one_cache = one_cache

    def answer(self, prompts: Prompts, new: int) -> Answers:
        """One group, each prompt in a sequence of its own."""
        self.engine.llama_memory_clear(self.memory, True)
        shared = 0
        if self.one_cache:
            shared = min(alike(prompts), min(map(len, prompts)) - 1)
            self._decode([(t, p, 0, False) for p, t in enumerate(prompts[0][:shared])])
            for other in range(1, len(prompts)):
                self.engine.llama_memory_seq_cp(self.memory, 0, other, 0, shared)
        newest = self._decode(
            [
                (token, place, sequence, place == len(prompt) - 1)
                for sequence, prompt in enumerate(prompts)
                for place, token in enumerate(prompt)
                if place >= shared
            ]
        )
        answers = [[newest[sequence]] for sequence in range(len(prompts))]
        for written in range(new - 1):
            newest = self._decode(
                [(newest[s], len(prompt) + written, s, True) for s, prompt in enumerate(prompts)]
            )
            for sequence, token in newest.items():
                answers[sequence].append(token)
        return answers

    def _decode(self, entries: list[tuple[int, int, int, bool]]) -> dict[int, int]:
        """(token, position, sequence, whether the next is wanted): the next by sequence."""
        import numpy

        found: dict[int, int] = {}
        for start in range(0, len(entries), ROW):
            some = entries[start : start + ROW]
            self.batch.n_tokens = len(some)
            for i, (token, position, sequence, wanted) in enumerate(some):
                self.batch.token[i], self.batch.pos[i] = token, position
                self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
                self.batch.logits[i] = wanted
            failed = self.engine.llama_decode(self.context, self.batch)
            assert not failed, f"llama_decode returned {failed}"
            for i, (_, _, sequence, wanted) in enumerate(some):
                if wanted:
                    logits = self.engine.llama_get_logits_ith(self.context, i)
                    row = numpy.ctypeslib.as_array(logits, shape=(self.vocabulary,))
                    found[sequence] = int(row.argmax())
        return found


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
    named = names(folder)
    size = config["vocab_size"]
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([named.get(i, f"<unused {i}>") for i in range(size)])
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


def names(folder: Path) -> dict[int, str]:
    """Token number -> how the tokenizer writes it."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return {number: name for name, number in vocabulary.items()}
