"""How often the grounding check is right, on claims labelled by hand.

    python benchmarks/grounding.py                   fit on one half, measure on the other, write
    python benchmarks/grounding.py --judge NAME      measure a model of yours instead
    python benchmarks/grounding.py --judge NAME --endpoint https://host/v1 --key-env API_KEY
                                        [--remote JSON] more of its [remote] table

`data/grounding.jsonl` holds passages, each with claims that it supports, that it contradicts, and
that it does not speak of; its two halves share no document. The check is a logistic regression
over eight features (sartor.evaluation.scorers.support), fitted to the development half; what is
printed, and kept in support.json to be shown beside scores, is of the held-out half. NAME is a
folder with a classifier of entailment, or a language model: thimble, a folder, a hub id, or with
an endpoint what a server with an OpenAI-compatible interface calls it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sartor.console.progress import reporter
from sartor.data.files import write_text
from sartor.errors import SartorError
from sartor.evaluation.scorers import support
from sartor.evaluation.scorers.entailment import entailment_by
from sartor.evaluation.scorers.exactly import missing
from sartor.evaluation.scorers.place import Place
from sartor.evaluation.statistics import wilson
from sartor.models.remote import RemoteModel, described, refuse_unready
from sartor.progress import shown_by
from sartor.project import Remote

SET = Path(__file__).parent / "data" / "grounding.jsonl"
LABELS = ("supported", "contradicted", "not in passage")
RIDGE = 1.0
"""Penalty on the squared weights of standardized features."""


@dataclass(frozen=True)
class Claim:
    """One claim of the set."""

    part: str
    passage: str
    text: str
    label: str


def read() -> list[Claim]:
    """The whole set."""
    rows = [json.loads(row) for row in SET.read_text("utf-8").split("\n") if row]
    return [
        Claim(row["part"], row["passage"], claim["claim"], claim["label"])
        for row in rows
        for claim in row["claims"]
    ]


def fit(claims: list[Claim]) -> dict[str, Any]:
    """Weights for the claims whose numbers and names all stand in the passage."""
    kept = [c for c in claims if not missing(c.text, [c.passage])]
    x = np.array([support.features(c.text, [c.passage]) for c in kept])
    y = np.array([c.label == "supported" for c in kept], dtype=np.float64)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    weights, bias = _logistic((x - mean) / spread, y)
    raw = weights / spread
    fitted = {"weights": [round(w, 4) for w in raw], "bias": round(bias - float(raw @ mean), 4)}
    logits = x @ np.array(fitted["weights"]) + fitted["bias"]
    return {**fitted, "threshold": _threshold(1 / (1 + np.exp(-logits)), y)}


def _logistic(x: Any, y: Any) -> tuple[Any, float]:
    """Ridge logistic regression by Newton's method; the bias is not penalized."""
    with_bias = np.column_stack([x, np.ones(len(x))])
    penalty = np.diag([RIDGE] * x.shape[1] + [0.0])
    found = np.zeros(with_bias.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-with_bias @ found))
        gradient = with_bias.T @ (y - p) - penalty @ found
        hessian = (with_bias * (p * (1 - p))[:, None]).T @ with_bias + penalty
        step = np.linalg.solve(hessian, gradient)
        found += step
        if np.abs(step).max() < 1e-10:
            break
    return found[:-1], float(found[-1])


def _threshold(p: Any, y: Any) -> float:
    """Where as large a share of what is supported is accepted as of the rest is refused."""
    grid = np.linspace(0.05, 0.95, 91)
    balance = [((p >= t)[y == 1].mean() + (p < t)[y == 0].mean(), -abs(t - 0.5)) for t in grid]
    return round(float(grid[max(range(len(grid)), key=balance.__getitem__)]), 2)


def rates(claims: list[Claim], supported: list[bool]) -> dict[str, dict[str, float]]:
    """How often it was right, by label and over all, with 95 % intervals (Wilson)."""
    found = {}
    for label in (*LABELS, "all"):
        right = [
            said == (claim.label == "supported")
            for claim, said in zip(claims, supported, strict=True)
            if label in ("all", claim.label)
        ]
        low_high = wilson(sum(right), len(right))
        found[label] = {
            "right": round(sum(right) / len(right), 4),
            "low": round(low_high.low, 4),
            "high": round(low_high.high, 4),
            "n": len(right),
        }
    return found


def served(endpoint: str, name: str, key_env: str, folder: Path, table: dict[str, Any]) -> Place:
    """Where the judge is what that endpoint calls `name`; its answers are kept in the folder."""
    remote = Remote(endpoint=endpoint, model=name, api_key_env=key_env, **table)
    card = described("judge", remote, folder)
    refuse_unready(card)
    return Place(models=lambda _: RemoteModel(card), kept=folder, revision=lambda _: card.revision)


def drawn(claims: list[Claim], limit: int | None) -> list[Claim]:
    """So many of all, in their order: the first of the file are of few documents. More claims hold
    those of fewer, so that what was answered serves a longer look."""
    places = Random(0).sample(range(len(claims)), len(claims))[:limit]
    return [claims[place] for place in sorted(places)]


def judged(claims: list[Claim], name: str, place: Place) -> dict[str, Any]:
    """A model's verdicts on the held-out half; what cannot be read counts as wrong, and is told."""
    model = entailment_by("groundedness", name, place)
    verdicts = model.verdicts([(claim.passage, claim.text) for claim in claims])
    said_of = {
        label: Counter(
            v if isinstance(v, str) else "unread"
            for c, v in zip(claims, verdicts, strict=True)
            if c.label == label
        )
        for label in LABELS
    }
    named = {label: said_of[label][label] / max(1, said_of[label].total()) for label in LABELS}
    wrong = [c.label != "supported" for c in claims]  # the opposite of right
    said = [
        v == "supported" if isinstance(v, str) else not_right
        for v, not_right in zip(verdicts, wrong, strict=True)
    ]
    return {
        "judge": name,
        "unread": sum(found["unread"] for found in said_of.values()),
        "said of": {label: dict(found) for label, found in said_of.items()},
        "label named": named,
        "supported or not": rates(claims, said),
    }


def main() -> None:
    """Print the figures; without a judge, write them where the check reads them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--judge", help="a classifier's folder, or a language model")
    parser.add_argument("--endpoint", help="where the judge is served, such as https://host/v1")
    parser.add_argument("--key-env", default="", help="the environment variable of its key")
    parser.add_argument(
        "--remote", type=json.loads, default={}, help="more of its [remote.<name>] table, as JSON"
    )
    parser.add_argument("--kept", type=Path, help="keep its answers here, and go on from them")
    parser.add_argument("--limit", type=int, help="judge so many claims, drawn from all")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    chosen = parser.parse_args()
    claims = read()
    held = [claim for claim in claims if claim.part == "held-out"]
    if chosen.judge:
        with TemporaryDirectory() as temporary:
            place, folder = Place(kept=chosen.kept), chosen.kept or Path(temporary)
            if chosen.endpoint:
                place = served(chosen.endpoint, chosen.judge, chosen.key_env, folder, chosen.remote)
            try:
                with reporter() as shown, shown_by(shown):
                    told = judged(drawn(held, chosen.limit), chosen.judge, place)
            except SartorError as error:
                sys.exit(str(error))
        print(json.dumps(told, indent=2))
        return
    told = {
        "made by": "python benchmarks/grounding.py",
        "check": {
            "features": list(support.FEATURES),
            **fit([claim for claim in claims if claim.part == "development"]),
        },
    }
    text = json.dumps(told, indent=2) + "\n"
    before = support.FIGURES.read_text("utf-8") if support.FIGURES.is_file() else ""
    write_text(support.FIGURES, text)
    support._fitted.cache_clear()
    said = [not support.support(claim.text, [claim.passage]).doubt for claim in held]
    told["held-out"] = rates(held, said)
    text = json.dumps(told, indent=2) + "\n"
    write_text(support.FIGURES, before if chosen.dry and before else text)
    print(text)


if __name__ == "__main__":
    main()
