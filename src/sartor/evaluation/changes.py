"""What would change the answer: another margin, price, number of requests, limit; more examples.

Each is found by deciding again: the nearest value on either side at which another candidate (or
none) would be named. Nothing here is a rule of thumb; what is not listed changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import isfinite
from typing import Any, Literal

from sartor.evaluation.ranking import Ranking, at_margin
from sartor.evaluation.records import Criteria, Decision, Report
from sartor.evaluation.winning import SAME_PRICE, winner_of

LARGEST_MARGIN = 0.5
"""Beyond this a margin is no margin."""
FURTHEST = 1000.0
"""How many times more or fewer requests, or dearer or cheaper, is still looked at."""
LIMITS = ("at_least", "max_seconds", "max_cost", "max_memory_gb")

Winner = str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that would change the answer."""

    what: Literal["margin", "requests", "price", "limit", "examples"]
    candidate: str
    """Whose price or number of examples is meant; empty for what concerns all."""
    at: float
    """The value from which on: a margin, requests, a price of an answer, a limit, more examples."""
    now: float | None
    winner: Winner
    """Who would be named then; None for nobody, or where only more examples can say."""
    says: str


def changes(
    decision: Decision, ranking: Ranking, reports: Sequence[Report], currency: str
) -> tuple[Change, ...]:
    """The nearest changes of each kind; none where no answer was given for other reasons."""
    found = [*_examples(decision)]
    if decision.winner == winner_of(reports, ranking, decision.criteria):
        found += _margins(decision, ranking, reports)
        found += _prices(decision, ranking, reports, currency)
        found += _requests(decision, ranking, reports)
        found += _limits(decision, ranking, reports)
    return tuple(found)


def _examples(decision: Decision) -> Iterator[Change]:
    for row in decision.comparisons:
        if row.verdict == "cannot tell" and row.label_more:
            says = (
                f"About {row.label_more:,} more labelled test examples would tell whether "
                f"{row.candidate} is good enough."
            )
            yield Change("examples", row.candidate, row.label_more, decision.n, None, says)


def _margins(decision: Decision, ranking: Ranking, reports: Sequence[Report]) -> Iterator[Change]:
    """Thresholds are the lower ends that Holm's correction may come to, at any of its levels."""
    now, m = decision.criteria.margin, len(ranking.pairs)
    ends = {
        -paired.interval(ranking.at_least(left)).low
        for paired in ranking.pairs.values()
        for left in range(1, m + 1)
    }

    def winner(margin: float) -> Winner:
        criteria = replace(decision.criteria, margin=margin)
        return winner_of(reports, at_margin(ranking, margin), criteria)

    ends = {end for end in ends if 0 <= end < LARGEST_MARGIN}
    for at, named in _nearest(now, ends, winner, decision.winner):
        way = "wider" if at > now else "narrower"
        says = (
            f"With a margin of {_rounded(at, at > now)} or {way} (it is {now:g}), {_named(named)}."
        )
        yield Change("margin", "", at, now, named, says)


def _requests(decision: Decision, ranking: Ranking, reports: Sequence[Report]) -> Iterator[Change]:
    now = reports[0].measured.expected_requests
    points = set[float]()
    for a, b in permutations([r.measured for r in reports if r.measured.serving_cost], 2):
        assert a.serving_cost is not None
        assert b.serving_cost is not None
        for factor in (SAME_PRICE, 1.0):
            below = a.serving_cost - factor * b.serving_cost
            if below and (at := (factor * b.training_cost - a.training_cost) / below) >= 1:
                points.add(at)

    def winner(requests: float) -> Winner:
        return winner_of([_at_requests(one, requests) for one in reports], ranking, criteria)

    criteria = decision.criteria
    near = {at for at in points if now / FURTHEST < at < now * FURTHEST}
    for at, named in _nearest(now, near, winner, decision.winner):
        way = "more" if at > now else "fewer"
        says = f"At {_count(at)} requests or {way} ({now:,} are expected), {_named(named)}."
        yield Change("requests", "", at, now, named, says)


def _prices(
    decision: Decision, ranking: Ranking, reports: Sequence[Report], currency: str
) -> Iterator[Change]:
    """At which price of an answer of its own the winner loses, or another one wins."""
    for one in reports:
        cost = one.measured.cost_per_answer
        others = [
            known
            for other in reports
            if other is not one and (known := other.measured.cost_per_answer) is not None
        ]
        if not cost or not others:
            continue
        ends = {factor * other for other in others for factor in (1 / SAME_PRICE, SAME_PRICE)}
        if decision.criteria.max_cost is not None:
            ends.add(decision.criteria.max_cost)

        def winner(price: float, one: Report = one) -> Winner:
            priced = [_at_price(other, price) if other is one else other for other in reports]
            return winner_of(priced, ranking, decision.criteria)

        near = {end for end in ends if cost / FURTHEST < end < cost * FURTHEST}
        for at, named in _nearest(cost, near, winner, decision.winner):
            if one.candidate not in (named, decision.winner):
                continue
            way = "more" if at > cost else "less"
            says = (
                f"If 1,000 answers of {one.candidate} cost {currency} {_money(at)} or {way} (they "
                f"cost {currency} {_money(cost)}), {_named(named)}."
            )
            yield Change("price", one.candidate, at, cost, named, says)


def _limits(decision: Decision, ranking: Ranking, reports: Sequence[Report]) -> Iterator[Change]:
    for name in LIMITS:
        limit = getattr(decision.criteria, name)
        if limit is None:
            continue
        without: dict[str, Any] = {name: None}
        free: Criteria = replace(decision.criteria, **without)
        named = winner_of(reports, ranking, free)
        if named != decision.winner:
            says = f"Without the limit {name} = {limit:g}, {_named(named)}."
            yield Change("limit", "", limit, limit, named, says)


def _nearest(
    now: float, points: Iterable[float], winner: Callable[[float], Winner], before: Winner
) -> Iterator[tuple[float, Winner]]:
    """The nearest point above and the nearest below at which the winner is another."""
    near = 1e-6
    for side in (1, -1):
        for at in sorted((p for p in points if side * (p - now) > 0), key=lambda p: abs(p - now)):
            beyond = at * (1 + side * near) + side * 1e-12
            if isfinite(beyond) and beyond >= 0 and (named := winner(beyond)) != before:
                yield beyond, named
                break


def _at_requests(report: Report, requests: float) -> Report:
    measured = report.measured
    if measured.serving_cost is None:
        return report
    cost = measured.serving_cost + measured.training_cost / requests
    return replace(report, measured=replace(measured, cost_per_answer=cost))


def _at_price(report: Report, price: float) -> Report:
    return replace(report, measured=replace(report.measured, cost_per_answer=price))


def _named(winner: Winner) -> str:
    return f"{winner} would be the answer" if winner else "no candidate would be good enough"


def _rounded(margin: float, up: bool) -> str:
    """To the side on which it holds."""
    from math import ceil, floor

    return f"{(ceil if up else floor)(margin * 1e4) / 1e4:.4f}".rstrip("0")


def _count(requests: float) -> str:
    """Three digits are enough of a number of requests."""
    return f"{float(f'{requests:.3g}'):,.0f}"


def _money(cost: float) -> str:
    return f"{float(f'{cost * 1000:.3g}'):,.10g}"
