"""The numbers behind a decision: who is best, and every other candidate's distance to it.

Only examples that all candidates have a score for are compared. A candidate with no score at all
from the scorer takes no part.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import median

from sartor.data.records import Example
from sartor.errors import DataError, SettingError
from sartor.evaluation.cost import price_of
from sartor.evaluation.estimate import group_of
from sartor.evaluation.level import Level, with_any, with_best
from sartor.evaluation.paired import Paired, Seeds, pair
from sartor.evaluation.records import Report
from sartor.evaluation.statistics import Interval, smallest_difference, unseen_share

ALPHA = 0.05
"""Two-sided, over all comparisons together."""


@dataclass(frozen=True, slots=True)
class Distance:
    """From the best candidate to another, with Holm's correction in it."""

    paired: Paired
    interval: Interval
    level: Level
    """Of the interval's lower end."""
    upper: Level
    """Of its upper end, corrected for every pair."""
    p: float

    @property
    def is_worse(self) -> bool:
        """Whether both the interval and the test say so: of few examples an interval is sooner
        sure than an exact test."""
        return self.interval.high < 0 and self.p < ALPHA


@dataclass(frozen=True, slots=True)
class Ranking:
    """Where the candidates stand."""

    n: int
    """Examples compared."""
    means: dict[str, float]
    """By candidate, over those examples."""
    best: str | None
    distances: dict[str, Distance]
    """By candidate, without the best."""
    resolvable: float
    pairs: dict[str, Paired]
    """Every other candidate with the best, before any correction."""
    seeded: dict[str, bool]
    """By candidate, whether it was trained with several seeds."""

    def at_least(self, left: int) -> Level:
        """At which those that are left of the candidates are shown to be good enough."""
        return with_best(self.seeded, self.best or "").level(ALPHA, left)

    def at_most(self, left: int) -> Level:
        """At which they are shown to be worse than whoever came out best."""
        return with_any(self.seeded).level(ALPHA, left)


def rank(reports: Sequence[Report], scorer: str, margin: float, seed: int) -> Ranking:
    """Find the best candidate and measure the others against it."""
    _refuse_mixed(reports)
    values, kept = _shared(reports, scorer)
    groups = [group_of(example) for example in kept]
    seeds = {one.candidate: seeds_of(one, scorer, kept) for one in reports}
    prices = {one.candidate: price_of(one) for one in reports}
    return ranked(values, groups, margin, seed, seeds, prices)


def ranked(
    values: Mapping[str, Sequence[float]],
    groups: Sequence[Hashable],
    margin: float,
    seed: int,
    seeds: Mapping[str, Seeds] | None = None,
    prices: Mapping[str, float] | None = None,
) -> Ranking:
    """The same of plain scores, by candidate, in the order of the groups of their examples; of
    equal means the cheapest is the best, then the first by name."""
    n = len(groups)
    if not values or n == 0:
        return Ranking(n=0, means={}, best=None, distances={}, resolvable=1.0, pairs={}, seeded={})
    means = {name: sum(scores) / n for name, scores in values.items()}
    prices = prices or {}
    best = min(means, key=lambda name: (-round(means[name], 12), prices.get(name, 0.0), name))
    by_seed = seeds or {name: (tuple(scores),) for name, scores in values.items()}
    pairs = {
        name: pair(scores, values[best], groups, seed, (by_seed[name], by_seed[best]))
        for name, scores in values.items()
        if name != best
    }
    spread = median(p.sd for p in pairs.values()) if pairs else _spread(values[best])
    found = Ranking(
        n=n,
        means=means,
        best=best,
        distances={},
        resolvable=resolvable(
            groups, spread, len(pairs), all(map(is_right_or_wrong, values.values()))
        ),
        pairs=pairs,
        seeded={name: len(by_seed[name]) > 1 for name in values},
    )
    return at_margin(found, margin)


def at_margin(ranking: Ranking, margin: float) -> Ranking:
    """The same candidates, corrected for another margin."""
    return replace(ranking, distances=_corrected(ranking, margin))


def resolvable(
    groups: Sequence[Hashable], spread: float, pairs: int, right_or_wrong: bool = False
) -> float:
    """The smallest difference that the examples of those groups can be expected to show, where
    differences of candidates, `pairs` and the best, have that standard deviation. Few groups show
    none that those not seen could turn around."""
    n, drawn = len(groups), len(set(groups))
    alpha = ALPHA / max(1, pairs * (pairs + 1) / 2)  # as `at_most` has it before any is told
    found = smallest_difference(n, spread, alpha, right_or_wrong=right_or_wrong)
    unseen = unseen_share(drawn, alpha)
    if unseen == 1 or (right_or_wrong and drawn == n):  # a table, which has limits of its own
        return found
    return min(1.0, max(found, unseen / (1 - unseen)))


def is_right_or_wrong(values: Sequence[float]) -> bool:
    """Whether no score lies between."""
    return all(value in (0.0, 1.0) for value in values)


def scores_of(report: Report, scorer: str) -> dict[str, float]:
    """By example id."""
    return {score.example_id: score.value for score in report.scores if score.scorer == scorer}


def seeds_of(report: Report, scorer: str, examples: Sequence[Example]) -> Seeds:
    """Scores by seed, in the order of the examples; one row where it was trained once."""
    by_seed = report.by_seed.get(scorer)
    if not by_seed:
        scored = scores_of(report, scorer)
        return (tuple(scored.get(example.id, 0.0) for example in examples),)
    return tuple(zip(*(by_seed[example.id] for example in examples), strict=True))


def _shared(reports: Sequence[Report], scorer: str) -> tuple[dict[str, list[float]], list[Example]]:
    """By candidate, the scores of the examples they all share; and those examples."""
    scores = {report.candidate: scores_of(report, scorer) for report in reports}
    scores = {name: scored for name, scored in scores.items() if scored}
    if reports and not scores:
        known = sorted({name for report in reports for name in report.estimates})
        raise SettingError(
            f"criteria.scorer is {scorer!r}, and no candidate has a score from it. "
            f"The reports hold: {', '.join(known) or 'none'}."
        )
    examples = [prediction.example for prediction in reports[0].predictions] if reports else []
    kept = [e for e in examples if all(e.id in scored for scored in scores.values())]
    values = {name: [scored[e.id] for e in kept] for name, scored in scores.items()}
    return values, kept


def _corrected(ranking: Ranking, margin: float) -> dict[str, Distance]:
    """Each comparison at its own levels: one for being good enough, another for being worse.

    Each claim has its own order, the strongest evidence first, and its own levels: those who are
    shown to be good enough make it no easier to call the others worse. Valid in any order chosen
    from the data, because it stops at the first failure: the first candidate of which the claim is
    false meets a level no looser than alpha over the number of such.
    """
    pairs = ranking.pairs
    near = sorted(pairs, key=lambda name: (-_evidence(pairs[name], margin), name))
    lowers = _levels(
        near, ranking.at_least, lambda name, at: pairs[name].interval(at).low > -margin
    )
    far = sorted(pairs, key=lambda name: (pairs[name].p, name))
    uppers = _levels(far, ranking.at_most, lambda name, at: pairs[name].interval(at).high < 0)
    adjusted = _adjusted(far, ranking)
    return {
        name: Distance(
            pairs[name],
            Interval(
                pairs[name].interval(lowers[name]).low, pairs[name].interval(uppers[name]).high
            ),
            lowers[name],
            uppers[name],
            adjusted[name],
        )
        for name in near
    }


def _levels(
    order: Sequence[str], level: Callable[[int], Level], is_shown: Callable[[str, Level], bool]
) -> dict[str, Level]:
    """Holm's: for so many as are left, until one is not shown; from there on it stays."""
    levels, left, stopped = dict[str, Level](), len(order), False
    for name in order:
        levels[name] = level(left)
        stopped = stopped or not is_shown(name, levels[name])
        left -= not stopped
    return levels


def _adjusted(order: Sequence[str], ranking: Ranking) -> dict[str, float]:
    """Holm's p-values, corrected for every pair: none is below the one before it."""
    family, largest, found = with_any(ranking.seeded), 0.0, dict[str, float]()
    for place, name in enumerate(order):
        largest = max(largest, ranking.pairs[name].p_among(family, len(order) - place))
        found[name] = largest
    return found


def _evidence(paired: Paired, margin: float) -> float:
    """How many standard errors the candidate is above the margin."""
    return (paired.difference + margin) / (paired.sd / sqrt(paired.n))


def _spread(values: Sequence[float]) -> float:
    """Of differences to an unrelated candidate just like this one: there is no other to go by."""
    mean = sum(values) / len(values)
    return sqrt(2 * sum((value - mean) ** 2 for value in values) / len(values))


def _refuse_mixed(reports: Sequence[Report]) -> None:
    names = [report.candidate for report in reports]
    if len(set(names)) < len(names):
        raise DataError(f"two reports are of one candidate: {', '.join(names)}. Give each a name.")
    ids = [{prediction.example.id for prediction in report.predictions} for report in reports]
    for report, found in zip(reports, ids, strict=True):
        if found != ids[0]:
            raise DataError(
                f"{report.candidate} answered {len(found)} examples and {names[0]} {len(ids[0])}, "
                f"{len(found ^ ids[0])} of them different. Candidates are compared on the same "
                "examples only: evaluate them again."
            )
