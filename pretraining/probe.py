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
from skills import SKILLS, numbered

from sartor.data.records import Message
from sartor.models.local import describe
from sartor.models.local_model import LocalModel
from sartor.models.language_model import Sampling

SEED = 987_654_321
"""Not a seed that training draws from."""


def f1(answer: str, target: str) -> float:
    a, b = answer.lower().split(), target.lower().split()
    common = sum(min(a.count(w), b.count(w)) for w in set(a))
    return 2 * common / (len(a) + len(b)) if common else 0.0


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
        made = [make(rng, data.words, 200) for _ in range(args.count)]
        prompts = [tuple(Message(r, c) for r, c in turns[:-1]) for turns in made]  # type: ignore[arg-type]
        answers = model.generate(prompts, Sampling(max_new_tokens=64))
        right = [a.text == turns[-1][1].strip() for a, turns in zip(answers, made, strict=True)]
        results[name] = round(sum(right) / len(right), 3)
        if args.show:
            for a, turns in list(zip(answers, made, strict=True))[:4]:
                print(f"  {name}: {turns[-2][1][-120:]!r}\n     want {turns[-1][1]!r}\n     got  {a.text!r}")
    if args.data:
        xquad = [r for r in rows(args.data / "pretrain" / "reading.jsonl.xz") if r["kind"] == "xquad"][: 2 * args.count]
        rng = random.Random(SEED)
        prompts = [(Message("system", "Answer the question from the passages, as briefly as you can. If they do not hold the answer, say: I don't know."),
                    Message("user", f"{numbered([r['context']])}\n\nQuestion: {r['question']}")) for r in xquad]  # fmt: skip
        prompts = [p for p in prompts if model.prompt_tokens(p) < 900]
        answers = model.generate(prompts, Sampling(max_new_tokens=32))
        results["reading_exact"] = round(sum(a.text == r["answer"] for a, r in zip(answers, xquad, strict=False)) / len(answers), 3)
        results["reading_f1"] = round(sum(f1(a.text, r["answer"]) for a, r in zip(answers, xquad, strict=False)) / len(answers), 3)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
