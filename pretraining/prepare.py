"""Build the tokenizer and the token files that training reads: `python prepare.py --data DIR --out DIR`."""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from corpus import evaluation_texts, texts, triples, words_of
from skills import conversation

SPECIAL = ["<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer(samples: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE. Every line and turn starts with a space token, so that a word has one form
    wherever it stands (what a copying model needs); digits stand alone. Decoding undoes both."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(" "), normalizers.Replace("\n", "\n ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "isolated"),
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(samples, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>",
        additional_special_tokens=SPECIAL[3:], chat_template=TEMPLATE, model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder that holds pretrain/ and the evaluation folders",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    evaluation = evaluation_texts(args.data)
    documents = texts(args.data / "pretrain", evaluation)
    reading = triples(args.data / "pretrain", evaluation)
    print(
        f"{len(documents)} texts ({sum(map(len, documents)) / 1e6:.1f} MB), {len(reading)} triples, {time.time() - began:.0f} s",
        flush=True,
    )
    rng = random.Random(args.seed)
    rng.shuffle(documents)
    rng.shuffle(reading)
    words = words_of(documents, args.seed)
    skilled = ["\n".join(t for _, t in conversation(rng, words, 300)[1]) for _ in range(6000)]
    samples = (
        documents[:4000]
        + skilled
        + [f"{t.context}\n{t.question}\n{t.answer}" for t in reading[:6000]]
    )
    tokenizer = build_tokenizer(samples, args.vocabulary)
    tokenizer.save_pretrained(args.out / "tokenizer")
    for text in ("Hello,\nthe price is $12.99\n\n  - x", "Ünïcode 😀 tabs\t\n", *samples[:50]):
        assert tokenizer.decode(tokenizer.encode(text)) == text, text
    ids: list[int] = []
    for i in range(0, len(documents), 500):
        for encoded in tokenizer.backend_tokenizer.encode_batch(documents[i : i + 500]):
            ids += [1, *encoded.ids, 2]
    np.save(args.out / "text.npy", np.array(ids, dtype=np.uint16))
    (args.out / "words.json").write_text(json.dumps(asdict(words)))
    (args.out / "reading.json").write_text(json.dumps([asdict(t) for t in reading]))
    summary = {
        "texts": len(documents),
        "text_tokens": len(ids),
        "triples": len(reading),
        "vocabulary": len(tokenizer),
    }
    (args.out / "prepared.json").write_text(json.dumps(summary))
    print(summary, f"{time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
