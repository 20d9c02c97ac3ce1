"""The LoRA paper's question in small: full fine-tuning, prefix tuning, P-tuning and LoRA on E2E.

    python benchmarks/e2e.py --out FOLDER

E2E (Novikova et al. 2017, arXiv:1706.09254), cleaned (Dusek et al. 2019, arXiv:1911.03905): from a
list of attributes to the description of a restaurant, of which several are right. Hu et al. 2021,
arXiv:2106.09685, table 3, compare these techniques there on GPT-2. Here thimble is the base, each
is trained with three seeds, and BLEU is sacrebleu's, over all references. The project is one that
a user could have written, and `sartor run` does the rest: learning rates are chosen on validation,
the verdicts are decision.json's. Each pair of trained ones is compared besides, each by itself.

The data are not in this repository; without them it says so and does nothing. `--out` keeps the
project, and a run that was killed goes on there. JSON to stdout.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import combinations
from pathlib import Path

from deciding import DATA, cpu_minutes, examples, other_figures, sartor, told, write_rows

TRAINED = ("lora", "full", "p-tuning", "prefix-tuning")
PROJECT = """\
[project]
name = "e2e"

[data]
examples = ["examples.jsonl"]
max_train = {train}
max_validation = 60

[customize]
candidates = [
    "zero-shot",
{candidates}
    "few-shot",
]

{settings}
[evaluate]
scorers = ["bleu", "chrf", "rouge_l", "repetition"]

[criteria]
scorer = "bleu"
"""


def project(folder: Path, seeds: int, train: int, epochs: float) -> None:
    """sartor.toml"""
    named = [
        f'    {{ name = "{one}", technique = "{one}", seeds = {list(range(seeds))} }},'
        for one in TRAINED
    ]
    settings = [
        f"[techniques.{one}]\nepochs = {epochs:g}\nsearch_fraction = 0.1\n" for one in TRAINED
    ]
    text = PROJECT.format(train=train, candidates="\n".join(named), settings="\n".join(settings))
    (folder / "sartor.toml").write_text(text, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, help="keep the project here")
    parser.add_argument("--seeds", type=int, default=3, help="so many for each technique")
    parser.add_argument("--train", type=int, default=400, help="examples to train on")
    parser.add_argument("--epochs", type=float, default=3, help="passes over them")
    options = parser.parse_args()
    rows = examples(options.data, "content-creation", "data-to-text")
    if not rows:
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        write_rows(folder / "examples.jsonl", rows, ("id", "input", "output", "references"))
        project(folder, options.seeds, options.train, options.epochs)
        found = told(sartor("run", folder)) | {"scores": other_figures(folder)}
        found["pairs"] = [sartor("compare", folder, *two) for two in combinations(TRAINED, 2)]
    print(json.dumps({**found, "cpu_minutes": cpu_minutes()}, indent=2))


if __name__ == "__main__":
    main()
