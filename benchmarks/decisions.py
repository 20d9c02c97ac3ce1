"""How often a whole decision says anything false, and what planted candidates are called.

    python benchmarks/decisions.py --worlds 300 > decisions.json

Simulated worlds of six candidates whose true distances are known: all equal; five that are exactly
the margin behind; and a ladder (equal, equal, the margin behind twice, twice the margin behind).
Each world goes through `decide`, as a run does. `false`: the share of worlds with any false
statement (one called worse that is not, or near enough that is not), which should be 5 % at most.
`planted`: what `compare` calls one that is truly worse, equal, or better, by share of worlds.
`stopping`: what `stop_hopeless` stops, and how often final intervals of the others hold the truth.
Nothing here is of a model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartor.data.records import Example, Message
from sartor.evaluation.compare import compare
from sartor.evaluation.decide import decide
from sartor.evaluation.records import (
    Comparison,
    Criteria,
    Estimate,
    Measured,
    Prediction,
    Report,
    Score,
)
from sartor.evaluation.stopping import hopeless
from sartor.models.language_model import Completion

MARGIN = 0.1
SIZES = (30, 100, 300, 1000, 3000)
KINDS = ("right or wrong", "graded", "groups of five", "three seeds", "three unlike seeds")
UNLIKE = (0.09, 0.03, 0.03, 0.01, 0.0, 0.0)
"""Standard deviations between the seeds of each candidate; 0: it was trained once."""
WORLDS = {
    "equal": (0.0,) * 6,
    "behind": (0.0,) + (-MARGIN,) * 5,
    "ladder": (0.0, 0.0, 0.0, -MARGIN, -MARGIN, -2 * MARGIN),
}
PLANTED = {"worse": -0.15, "equal": 0.0, "better": 0.15}
CRITERIA = Criteria("simulated", MARGIN)
MEASURED = Measured("lora", "none", 0.1, 1.0, 0, 1.0, 1)
Numbers = NDArray[np.float64]


def world(random: np.random.Generator, kind: str, n: int, gaps: tuple[float, ...]) -> list[Report]:
    """Reports of candidates whose true means lie `gaps` from the first's; the first is dearest."""
    predictions = _predictions(n, in_groups=kind == "groups of five")
    hard = _drawn(random, n, kind)
    return [
        _report(
            f"c{at}", _scores(random, kind, hard, gap, at), predictions, cost=1.0 if at else 9.0
        )
        for at, gap in enumerate(gaps)
    ]


def _scores(random: np.random.Generator, kind: str, hard: Numbers, gap: float, at: int) -> Numbers:
    """By seed and example. A gap is made by losing, or winning, answers at random."""
    n = len(hard)
    if kind in ("three seeds", "three unlike seeds"):
        apart = 0.03 if kind == "three seeds" else UNLIKE[at]
        shape = (3 if apart else 1, n)
        by_seed = random.normal(0, apart, size=(shape[0], 1)) + random.normal(0, 0.05, size=shape)
        return np.asarray(0.5 + gap + (hard - 0.5) / 3 + by_seed)
    share = 0.7 * 0.9 + 0.3 * 0.1  # right, before the gap
    right = (hard < 0.7) ^ (_drawn(random, n, kind) < 0.1)
    turned = _drawn(random, n, kind)
    graded = kind != "right or wrong"
    change = abs(gap) / (0.9 if graded else 1.0)
    if gap < 0:
        right &= turned >= change / share
    else:
        right |= turned < change / (1 - share)
    score = right * 1.0
    return np.asarray(score * 0.9 + 0.05 * random.uniform(size=n) if graded else score)[None]


def _drawn(random: np.random.Generator, n: int, kind: str) -> Numbers:
    """Uniform numbers; in groups, half of the examples have their group's."""
    own = random.uniform(size=n)
    if kind != "groups of five":
        return own
    shared = np.repeat(random.uniform(size=n // 5), 5)
    return np.where(random.uniform(size=n) < 0.5, shared, own)


def _predictions(n: int, in_groups: bool) -> tuple[Prediction, ...]:
    asked, said = (Message("user", "?"),), Completion("", "stop", 1, 1, 0.1)
    return tuple(
        Prediction(Example(str(i), asked, ("x",), group=str(i // 5) if in_groups else ""), said)
        for i in range(n)
    )


def _report(name: str, scores: Numbers, predictions: tuple[Prediction, ...], cost: float) -> Report:
    means = scores.mean(axis=0)
    ids = [prediction.example.id for prediction in predictions]
    by_seed = {"simulated": dict(zip(ids, map(tuple, scores.T.tolist()), strict=True))}
    return Report(
        name,
        replace(MEASURED, cost_per_answer=cost),
        predictions,
        tuple(Score(id, "simulated", v) for id, v in zip(ids, means.tolist(), strict=True)),
        {"simulated": Estimate(float(means.mean()), 0.0, 1.0, len(ids))},
        {},
        by_seed=by_seed if len(scores) > 1 else {},
    )


def is_false(row: Comparison, gaps: tuple[float, ...]) -> bool:
    """Whether what was said of a candidate and the best is not so."""
    truly = gaps[int(row.candidate[1:])] - gaps[int(row.against[1:])]
    if row.candidate == row.against:
        return False
    near = row.verdict in ("non-inferior", "winner") and truly <= -MARGIN + 1e-9
    worse = row.verdict == "worse" and truly >= 0
    return near or worse or (row.p < 0.05 and truly == 0)


def false_statements(kind: str, name: str, n: int, worlds: int, seed: int = 0) -> float:
    """The share of worlds whose decision says anything false."""
    random, gaps, found = np.random.default_rng(seed), WORLDS[name], 0
    for _ in range(worlds):
        rows = decide(world(random, kind, n, gaps), CRITERIA, seed=0).comparisons
        found += any(is_false(row, gaps) for row in rows)
    return found / worlds


def planted(kind: str, n: int, worlds: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """By what a candidate truly is, the share of worlds with each verdict on it."""
    random = np.random.default_rng(seed)
    said: dict[str, Counter[str]] = {name: Counter() for name in PLANTED}
    for _ in range(worlds):
        first, *others = world(random, kind, n, (0.0, *PLANTED.values()))
        for name, other in zip(PLANTED, others, strict=True):
            said[name][compare(other, first, "simulated", MARGIN, 0).verdict] += 1
    return {
        name: {verdict: count / worlds for verdict, count in sorted(counts.items())}
        for name, counts in said.items()
    }


def stopping(kind: str, worlds: int, seed: int = 0) -> dict[str, float]:
    """Validation of 100 examples may stop candidates that are equal, or 0.05 or 0.4 behind, and 200
    others test the rest. How often the final interval of one that went on holds the truth, and how
    often each was stopped (0.05 behind is within the margin)."""
    random, gaps = np.random.default_rng(seed), (0.0, 0.0, -0.05, -0.4)
    held, went_on, stopped = 0, 0, Counter[float]()
    for _ in range(worlds):
        validation, test = world(random, kind, 100, gaps), world(random, kind, 200, gaps)
        for at in range(1, len(gaps)):
            if hopeless(validation[at], validation[:at], "simulated", MARGIN, 0):
                stopped[gaps[at]] += 1
                continue
            found = compare(test[at], test[0], "simulated", MARGIN, 0)
            went_on += 1
            held += found.low <= gaps[at] <= found.high
    told = {f"stopped, {abs(gap):g} behind": stopped[gap] / worlds for gap in gaps[1:]}
    return {"coverage": held / went_on, **told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worlds", type=int, default=300)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("false", "planted", "stopping"))
    asked = parser.parse_args()
    began = process_time()
    found: dict[str, Any] = {"worlds": asked.worlds, "margin": MARGIN}
    measures: dict[str, Callable[..., Any]] = {
        "false": _false,
        "planted": _planted,
        "stopping": stopping,
    }
    for what, measure in measures.items():
        for kind in asked.kinds if asked.only in (None, what) else ():
            sizes = () if measure is stopping else (asked.sizes,)
            made = measure(kind, *sizes, asked.worlds, asked.seed)
            found.setdefault(what, {})[kind] = made
            print(what, kind, made, file=sys.stderr, flush=True)
    print(json.dumps(found | {"cpu_seconds": round(process_time() - began, 1)}, indent=2))


def _false(kind: str, sizes: Sequence[int], worlds: int, seed: int) -> dict[str, dict[int, float]]:
    return {
        name: {n: false_statements(kind, name, n, worlds, seed) for n in sizes} for name in WORLDS
    }


def _planted(kind: str, sizes: Sequence[int], worlds: int, seed: int) -> dict[int, Any]:
    return {n: planted(kind, n, worlds, seed) for n in sizes}


if __name__ == "__main__":
    main()
