"""The verdict in sentences that a manager understands: what to ship, why, how sure, at what cost.

Says only what the decision and the measurements say; decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

from sartor.evaluation.cost import price_of
from sartor.evaluation.given import is_given
from sartor.evaluation.records import Comparison, Decision
from sartor.evaluation.summary import nothing_fit, open_rivals
from sartor.evaluation.trust import got_nothing_right
from sartor.studio import figures
from sartor.studio.standing import Standing, subject

_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Fact:
    """One number worth a large type."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The first screen of the page."""

    kind: Literal["ship", "cannot tell", "none"]
    headline: Markup
    sentences: tuple[Markup, ...]
    facts: tuple[Fact, ...]


def finding(decision: Decision, rows: Sequence[Standing], currency: str) -> Finding:
    """Put the decision into words."""
    chosen = subject(decision, rows)
    facts = tuple(_facts(decision, chosen, currency))
    if decision.winner is not None:
        winner = next(row for row in rows if row.name == decision.winner)
        sentences = tuple(_why_ship(decision, winner, rows, currency))
        if got_nothing_right(winner.report, decision.criteria.scorer):
            told = (_say(nothing_fit("{}"), winner.name), *sentences)
            return Finding("none", Markup("Nothing is fit to ship."), told, facts)
        if rivals := open_rivals(decision):
            names = [row.candidate for row in rivals]
            told = (sentences[0], *_why_open(winner.name, rivals), *sentences[1:])
            return Finding("cannot tell", _leads(winner.name, names), told, facts)
        return Finding("ship", _say("Ship {}.", winner.name), sentences, facts)
    unsure = [row for row in rows if row.verdict == "cannot tell"]
    if unsure:
        return Finding(
            "cannot tell", _unsure_headline(unsure), tuple(_why_unsure(decision, unsure)), facts
        )
    return Finding("none", Markup("No winner."), tuple(_why_none(decision, rows)), facts)


def _leads(winner: str, rivals: Sequence[str]) -> Markup:
    """The best so far; from whom it cannot be told."""
    shown = rivals if len(rivals) <= 3 else rivals[:2]
    joined = Markup(" and ").join(_say("{}", name) for name in shown)
    if len(shown) > 2:
        joined = _say("{}, {} and {}", *shown)
    elif len(shown) < len(rivals):
        joined = _say(f"{{}}, {{}} and {len(rivals) - 2} more", *shown)
    return _say("{} leads, but cannot be told from ", winner) + joined + escape(" yet.")


def _why_open(winner: str, rivals: Sequence[Comparison]) -> Iterator[Markup]:
    """How far apart the nearest rival may be, and what would settle it."""
    nearest = rivals[0]
    between = f"{figures.difference(nearest.low)} and {figures.difference(nearest.high)}"
    text = f" may lie anywhere between {between} points from "
    settle = "."
    if nearest.label_more:
        settle = f". About {nearest.label_more:,} more test examples would settle that."
    yield _say("{}" + text + "{}", nearest.candidate, winner) + escape(settle)


def _say(pattern: str, *names: str) -> Markup:
    """A sentence with names in it, each escaped and kept apart from the direction of the text."""
    shown = (figures.shortened(name, _LONGEST_NAME) for name in names)
    return Markup(pattern).format(*(Markup("<bdi>{}</bdi>").format(name) for name in shown))


def _why_ship(
    decision: Decision, winner: Standing, rows: Sequence[Standing], currency: str
) -> Iterator[Markup]:
    n = figures.whole(decision.n, "test example")
    quality = _score_in_words(winner)
    best = next((row for row in rows if row.name == decision.best), winner)
    elsewhere = winner.report is not None and is_given(winner.report)
    held = "" if elsewhere else " held back from all training"
    opening = f"It scores {quality} on {n}{held}."
    if best.name == winner.name and len(rows) > 1:
        opening += " No other candidate scores higher."
    yield escape(opening)
    if best.name != winner.name:
        yield _against_best(decision, winner, best)
    if not elsewhere:
        yield from _gain(winner, rows)
    if winner.report:
        yield _price(winner, best, currency)
    yield from _cheaper_and_unsure(winner, rows)


def _score_in_words(row: Standing) -> str:
    estimate = row.estimate
    if not estimate:
        return figures.NOTHING
    low, high = figures.score(estimate.low), figures.score(estimate.high)
    return f"{figures.score(estimate.mean)} of 100 (95 % interval {low} to {high})"


def _against_best(decision: Decision, winner: Standing, best: Standing) -> Markup:
    start = _say(
        "The best, {}, scores " + figures.score(best.estimate.mean if best.estimate else None),
        best.name,
    )
    if not (comparison := winner.comparison):
        return start + escape(".")
    between = f"{figures.difference(comparison.low)} and {figures.difference(comparison.high)}"
    text = (
        f": a difference of {figures.difference(comparison.difference)} points, which for all that "
        f"can be told lies between {between}."
    )
    if comparison.low > -decision.criteria.margin:
        margin = figures.points(decision.criteria.margin)
        text += f" Even the low end is within the margin of {margin} points you allow."
    return start + escape(text)


def _gain(winner: Standing, rows: Sequence[Standing]) -> Iterator[Markup]:
    """What customizing bought, where the plain prompt ran too."""
    plain = next((row for row in rows if row.report and _is_plain(row)), None)
    if plain and plain.name != winner.name and plain.estimate and winner.estimate:
        gain = winner.estimate.mean - plain.estimate.mean
        before, brought = figures.score(plain.estimate.mean), figures.difference(gain)
        words = f"brought {brought}" if gain > 0 else f"brought no gain ({brought}"
        yield _say(
            f"With nothing but a prompt ({{}}) it is {before}: customizing {words} points"
            f"{'' if gain > 0 else ')'}.",
            plain.name,
        )


def _is_plain(row: Standing) -> bool:
    return "zero-shot" in (row.name, row.report.measured.technique if row.report else "")


def _price(winner: Standing, best: Standing, currency: str) -> Markup:
    assert winner.report
    measured = winner.report.measured
    if measured.cost_per_answer is None:
        return escape("What its answers cost is not known: they were made elsewhere.")
    cost = figures.cost_per_thousand(measured.cost_per_answer, currency)
    text = f"1,000 answers cost {cost}"
    if measured.seconds_per_answer is not None:
        text += f", and one takes {figures.seconds(measured.seconds_per_answer)}"
    text += "."
    if measured.training_seconds > 0:
        text += f" Making it took {figures.duration(measured.training_seconds)}."
    theirs = best.report.measured.cost_per_answer if best.report else None
    if best.name != winner.name and theirs is not None and measured.cost_per_answer > 0:
        ratio = theirs / measured.cost_per_answer
        if ratio >= 1.05:
            text += f" The best one costs {figures.times(ratio)} as much."
    return escape(text)


def _cheaper_and_unsure(winner: Standing, rows: Sequence[Standing]) -> Iterator[Markup]:
    """The cheaper candidate that the fewest more labels might show to be good enough."""
    cheaper = [row for row in rows if row.verdict == "cannot tell" and _costs_less(row, winner)]
    if not cheaper:
        return
    nearest = min(cheaper, key=lambda row: _label_more(row) or math.inf)
    more, others = _label_more(nearest), len(cheaper) - 1
    label = f": test on about {more:,} more examples to know" if more else ""
    too = f" So {'might one more' if others == 1 else f'might {others} more'}." if others else ""
    yield _say(f"{{}} is cheaper and might be good enough{label}.{too}", nearest.name)


def _costs_less(row: Standing, winner: Standing) -> bool:
    if not row.report or not winner.report:
        return False
    return price_of(row.report) < price_of(winner.report)


def _label_more(row: Standing) -> int | None:
    return row.comparison.label_more if row.comparison else None


def _unsure_headline(unsure: Sequence[Standing]) -> Markup:
    wanted = [more for row in unsure if (more := _label_more(row))]
    if not wanted:
        return escape("Cannot tell yet.")
    return escape(f"Cannot tell yet: test on about {min(wanted):,} more.")


def _why_unsure(decision: Decision, unsure: Sequence[Standing]) -> Iterator[Markup]:
    yield escape(decision.reason)
    if math.isfinite(decision.resolvable):
        least = "no difference can be expected to show"
        if decision.resolvable < 1:
            least = (
                "the smallest difference that can be expected to show is "
                f"{figures.points(decision.resolvable)} points"
            )
        yield escape(
            f"With {figures.whole(decision.n, 'test example')} {least}; "
            f"the margin you allow is {figures.points(decision.criteria.margin)}."
        )
    for row in sorted(unsure, key=lambda row: _label_more(row) or 0)[:3]:
        if more := _label_more(row):
            yield _say(f"About {more:,} more test examples would settle {{}}.", row.name)


def _why_none(decision: Decision, rows: Sequence[Standing]) -> Iterator[Markup]:
    yield escape(decision.reason)
    refused = [row for row in rows if row.verdict == "refused" and row.comparison]
    for row in refused[:4]:
        assert row.comparison
        yield _say("{}", row.name) + escape(f": {row.comparison.reason}")
    if len(refused) > 4:
        yield escape(f"So were {len(refused) - 4} more; the table below says why.")


def _facts(decision: Decision, chosen: Standing | None, currency: str) -> Iterator[Fact]:
    if chosen and chosen.report:
        estimate, measured = chosen.estimate, chosen.report.measured
        if estimate:
            interval = f"{figures.score(estimate.low)} to {figures.score(estimate.high)}"
            label = f"Quality, {figures.shortened(decision.criteria.scorer, 40)}"
            yield Fact(label, figures.score(estimate.mean), f"of 100; 95 % interval {interval}")
        cost = figures.cost_per_thousand(measured.cost_per_answer, currency)
        yield Fact("Cost", cost, "per 1,000 answers")
        yield Fact("Speed", figures.seconds(measured.seconds_per_answer), "per answer")
    note = "examples"
    if decision.resolvable < 1:
        note += f": enough to show a difference of {figures.points(decision.resolvable)} points"
    elif math.isfinite(decision.resolvable):
        note += ": too few to show any difference"
    yield Fact("Tested on", f"{decision.n:,}", note)
