"""The estimate of a figure that is no mean over examples: corpus BLEU, macro F1.

Its interval is the percentile bootstrap over groups, never narrower than n allows. Candidates are
not compared by it: a paired test needs a value for each example, which the scorer's own has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sartor.evaluation.estimate import group_of
from sartor.evaluation.records import Estimate, Prediction
from sartor.evaluation.scorer import Corpus, CorpusScorer, Scorer
from sartor.evaluation.statistics import unseen_share

RESAMPLES = 1_000


def corpus_estimates(
    scorers: Sequence[Scorer], predictions: Sequence[Prediction], seed: int = 0
) -> dict[str, Estimate]:
    """By name, of all scorers that have such figures."""
    return {
        figure.name: corpus_estimate(figure, seed)
        for scorer in scorers
        if isinstance(scorer, CorpusScorer)
        for figure in scorer.corpus(predictions)
    }


def corpus_estimate(figure: Corpus, seed: int = 0, alpha: float = 0.05) -> Estimate:
    """The figure with its interval; whole groups are resampled."""
    n = len(figure.examples)
    value = figure.value(np.ones(n))
    places: dict[tuple[str, str], int] = {}
    group = np.array([places.setdefault(group_of(e), len(places)) for e in figure.examples])
    random, drawn = np.random.default_rng(seed), np.empty(RESAMPLES)
    for row in range(RESAMPLES):
        index = random.integers(0, len(places), size=len(places))
        times = np.bincount(index, minlength=len(places))  # (groups,)
        drawn[row] = figure.value(times[group].astype(np.float64))
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    rare = unseen_share(len(places), alpha)  # what so few groups may not have shown
    low = max(0.0, min(float(low), value - rare * value))
    high = min(1.0, max(float(high), value + rare * (1 - value)))
    return Estimate(value, low, high, n)
