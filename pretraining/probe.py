"""What thimble can do, skill by skill, on fresh names and values: `python probe.py --prepared DIR`.

Prints JSON: exact match of the last answer of each conversation, greedily generated; `reading` is on
XQuAD's English questions (never trained on), as exact match and token F1. `--data DIR` names the
folder that holds pretrain/.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from batches import load
from corpus import rows
from sartor.data.records import Message
from sartor.models.base_card import describe
from sartor.models.language_model import Sampling
from sartor.models.local_model import LocalModel
from skills import SKILLS, SYSTEMS, numbered

SEED = 987_654_321
"""Not a seed that training draws from."""
INSTRUCTION = SYSTEMS[3]


def f1(answer: str, target: str) -> float:
    a, b = answer.lower().split(), target.lower().split()
    common = sum(min(a.count(w), b.count(w)) for w in set(a))
    return 2 * common / (len(a) + len(b)) if common else 0.0


def reading(model: LocalModel, data: Path, count: int) -> dict[str, float]:
    """Questions that people wrote, on passages that fit the context with room for the answer."""
    asked = []
    for row in rows(data / "pretrain" / "reading.jsonl.xz"):
        passage = f"{numbered([row['context']])}\n\nQuestion: {row['question']}"
        prompt = (Message("system", INSTRUCTION), Message("user", passage))
        if row["kind"] == "xquad" and model.prompt_tokens(prompt) < 900:
            asked.append((prompt, row["answer"]))
        if len(asked) == count:
            break
    answers = model.generate([prompt for prompt, _ in asked], Sampling(max_new_tokens=32))
    pairs = [(a.text, right) for a, (_, right) in zip(answers, asked, strict=True)]
    return {
        "reading_exact": round(sum(a == right for a, right in pairs) / len(pairs), 3),
        "reading_f1": round(sum(f1(a, right) for a, right in pairs) / len(pairs), 3),
    }


SIZES = {"retrieved": 512, "said": 400, "stated": 512}
"""Tokens of a conversation, about; of the others, 200."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="thimble")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    data = load(args.prepared)
    model = LocalModel(describe(args.model))
    results: dict[str, float] = {}
    for name, make in SKILLS.items():
        rng = random.Random(SEED)
        made = [make(rng, data.words, SIZES.get(name, 200)) for _ in range(args.count)]
        prompts = [tuple(Message(r, c) for r, c in turns[:-1]) for turns in made]  # type: ignore[arg-type]
        answers = model.generate(prompts, Sampling(max_new_tokens=64))
        right = [a.text == turns[-1][1].strip() for a, turns in zip(answers, made, strict=True)]
        results[name] = round(sum(right) / len(right), 3)
        if args.show:
            for a, turns in list(zip(answers, made, strict=True))[:4]:
                print(
                    f"  {name}: {turns[-2][1][-120:]!r}\n     want {turns[-1][1]!r}\n     got  {a.text!r}"
                )
    if args.data:
        results |= reading(model, args.data, 2 * args.count)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
