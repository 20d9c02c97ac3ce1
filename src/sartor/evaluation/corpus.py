"""The estimate of a figure that is no mean over examples: corpus BLEU, macro F1.

Its interval is the percentile bootstrap over groups, never narrower than n allows. Of a candidate
trained with several seeds it is the mean over them, and seeds are a second level of chance, as they
are of means (seeds.py). Candidates are not compared by it: a paired test needs a value for each
example, which the scorer's own has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sartor.evaluation.estimate import group_of
from sartor.evaluation.records import Estimate, Prediction
from sartor.evaluation.scorer import Corpus, CorpusScorer, Scorer
from sartor.evaluation.statistics import Interval, unseen_share

RESAMPLES = 1_000

Numbers = NDArray[np.float64]


def corpus_estimates(
    scorers: Sequence[Scorer], by_seed: Sequence[Sequence[Prediction]], seed: int = 0
) -> dict[str, Estimate]:
    """By name, of all scorers that have such figures; of one set of predictions for each seed that
    the candidate was trained with."""
    return {
        figures[0].name: corpus_estimate(*figures, seed=seed)
        for scorer in scorers
        if isinstance(scorer, CorpusScorer)
        for figures in zip(*map(scorer.corpus, by_seed), strict=True)
    }


def corpus_estimate(*figures: Corpus, seed: int = 0, alpha: float = 0.05) -> Estimate:
    """The figure, on average over the seeds, with its interval; whole groups are resampled."""
    examples = figures[0].examples
    n = len(examples)
    values = np.array([figure.value(np.ones(n)) for figure in figures])  # (seeds,)
    places: dict[tuple[str, str], int] = {}
    group = np.array([places.setdefault(group_of(e), len(places)) for e in examples])
    random = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, len(figures)))
    for row in range(RESAMPLES):
        index = random.integers(0, len(places), size=len(places))
        times = np.bincount(index, minlength=len(places))[group].astype(np.float64)  # (examples,)
        drawn[row] = [figure.value(times) for figure in figures]
    value, found = float(values.mean()), Interval(*_ends(drawn.mean(axis=1), alpha))
    if len(figures) > 1 and len(places) > 1:
        found = _with_seeds(values, drawn, len(places), found, alpha, random)
    rare = unseen_share(len(places), alpha)  # what so few groups may not have shown
    low = max(0.0, min(found.low, value - rare * value))
    high = min(1.0, max(found.high, value + rare * (1 - value)))
    return Estimate(value, low, high, n)


def _with_seeds(
    values: Numbers, drawn: Numbers, groups: int, found: Interval, alpha: float,
    random: np.random.Generator,
) -> Interval:  # fmt: skip
    """The interval with the choice of seeds as a second cause: of values (seeds,), and of resamples
    of the examples (resamples, seeds)."""
    from scipy.special import stdtrit

    seeds, value = len(values), float(values.mean())
    off = values - value
    between = _between(values, drawn)
    if between <= 0:
        return found
    picked = off[random.integers(0, seeds, size=(len(drawn), seeds))].mean(axis=1)
    stretch = np.sqrt(between / np.mean(off**2) * seeds)  # a few seeds drawn vary too little
    low, high = _ends(drawn.mean(axis=1) + picked * stretch, alpha)
    causes = [(groups - 1, float(drawn.mean(axis=1).var())), (seeds - 1, between)]
    reach = np.sqrt(sum(stdtrit(freedom, alpha / 2) ** 2 * v for freedom, v in causes))
    return Interval(
        min(found.low, low, value - float(reach)), max(found.high, high, value + float(reach))
    )


def _between(values: Numbers, drawn: Numbers) -> float:
    """Variance of the mean over seeds by their choice, less what the examples make of it already;
    of two seeds nothing is taken off: they are too few to tell the one from the other."""
    seeds = len(values)
    varies = float(values.var(ddof=1))
    if seeds > 2:
        apart = drawn - drawn.mean(axis=1, keepdims=True) - (values - values.mean())
        varies -= float((apart**2).mean(axis=0).sum()) / (seeds - 1)
    return max(0.0, varies) / seeds


def _ends(drawn: Numbers, alpha: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)
