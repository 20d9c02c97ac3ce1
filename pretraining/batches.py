"""Rows of tokens to train on: a pure function of (seed, step), so a killed run goes on exactly where it was."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from corpus import Triple
from skills import SYSTEMS, Turn, Words, asked, conversation, numbered

BEGIN, END = 1, 2
ROLES = {"system": 3, "user": 4, "assistant": 5}
IGNORED = -100
LATE = 1.7
"""From so many horizons on, contexts are long, as retrieval's are."""


@dataclass(frozen=True)
class Prepared:
    text: np.ndarray
    words: Words
    reading: list[Triple]
    tokenizer: Tokenizer


def load(folder: Path) -> Prepared:
    words = Words(
        **{k: tuple(v) for k, v in json.loads((folder / "words.json").read_text()).items()}
    )
    reading = [Triple(**row) for row in json.loads((folder / "reading.json").read_text())]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    return Prepared(np.load(folder / "text.npy", mmap_mode="r"), words, reading, tokenizer)


def encode(tokenizer: Tokenizer, turns: list[Turn]) -> tuple[list[int], list[int]]:
    """(tokens, labels): what the chat template makes of the turns; only answers and their end are labelled."""
    ids, labels = [BEGIN], [IGNORED]
    for role, content in turns:
        body = [*tokenizer.encode(content.strip()).ids, END]
        ids += [ROLES[role], *body]
        labels += [IGNORED, *(body if role == "assistant" else [IGNORED] * len(body))]
    return ids, labels


def reading_turns(rng: random.Random, data: Prepared, size: int) -> list[Turn]:
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    length = 0
    while length < size * 3:  # characters; about 3.5 a token
        triple = data.reading[rng.randrange(len(data.reading))]
        passages = [triple.context]
        if rng.random() < 0.3:
            passages.insert(
                rng.randint(0, 1), data.reading[rng.randrange(len(data.reading))].context
            )
        if turns[1:] and length + sum(map(len, passages)) > size * 3.5:
            break
        turns += [
            ("user", asked(rng, numbered(passages), triple.question)),
            ("assistant", triple.answer),
        ]
        length += sum(map(len, passages)) + len(triple.question) + len(triple.answer)
    return turns


def repeated(rng: random.Random, vocabulary: int, size: int) -> tuple[list[int], list[int]]:
    """Random tokens, then pieces of them again: the second time is labelled."""
    first = [rng.randrange(6, vocabulary) for _ in range(size // 2)]
    ids, labels = [BEGIN, *first], [IGNORED] * (1 + len(first))
    while len(ids) < size:
        start = rng.randrange(len(first) - 8)
        piece = first[start : start + rng.randint(4, 24)]
        ids += piece
        labels += [IGNORED, *piece[1:]]
    return ids[:size], labels[:size]


def shares(progress: float) -> dict[str, float]:
    """What a row is made of, as training goes on: copying first, then reading."""
    if progress > LATE:
        return {"repeated": 0.02, "text": 0.1, "reading": 0.16, "skill": 0.72}
    copying = max(0.02, 0.4 * (1 - progress / 0.04))
    return {
        "repeated": copying,
        "text": 0.2,
        "reading": 0.2,
        "skill": 0.6 - copying if copying < 0.5 else 0.1,
    }


def length(rng: random.Random, progress: float) -> int:
    if progress < 0.05:
        return rng.choice((128, 192))
    if progress < 0.3:
        return rng.choice((192, 256, 384))
    if progress > LATE:
        return rng.choice((384, 512, 768, 768, 1024))
    return rng.choice((256, 384, 384, 512, 768))


def batch(
    data: Prepared, seed: int, step: int, progress: float, tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, size) tokens and labels; labels[i] is the token after tokens[i], -100 where not scored."""
    rng = random.Random(seed * 1_000_003 + step)
    size = length(rng, progress)
    mix = shares(progress)
    ids = np.zeros((tokens // size, size + 1), dtype=np.int64)
    labels = np.full_like(ids, IGNORED)
    for row in range(len(ids)):
        kind = rng.choices(list(mix), weights=list(mix.values()))[0]
        if kind == "text":
            start = rng.randrange(len(data.text) - size - 1)
            ids[row] = labels[row] = data.text[start : start + size + 1]
            continue
        if kind == "repeated":
            made = repeated(rng, data.tokenizer.get_vocab_size(), size + 1)
        elif kind == "reading":
            made = encode(data.tokenizer, reading_turns(rng, data, size))
        else:
            made = encode(data.tokenizer, conversation(rng, data.words, size, progress > LATE)[1])
        n = min(size + 1, len(made[0]))
        ids[row, :n], labels[row, :n] = made[0][:n], made[1][:n]
    return torch.from_numpy(ids[:, :-1].copy()), torch.from_numpy(labels[:, 1:].copy())
