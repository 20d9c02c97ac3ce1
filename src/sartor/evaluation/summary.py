"""The verdict in plain words, and the evidence that stands behind each sentence.

What to ship, why, how sure that is, what it costs, what it still gets wrong, what would change the
answer. decision.json, the terminal and the page all say these sentences; every number in them is of
the decision, the reports, or is found by deciding again (changes.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from sartor.evaluation.break_even import BreakEven, break_evens
from sartor.evaluation.changes import Change, changes
from sartor.evaluation.given import is_given
from sartor.evaluation.label_next import ToLabel, Unlabelled, label_next, undecided
from sartor.evaluation.mistakes import WRONG, Mistake, mistakes, refused, wrong
from sartor.evaluation.ranking import Ranking, scores_of
from sartor.evaluation.records import Comparison, Decision, Report
from sartor.evaluation.slice_findings import SliceFinding, slice_findings
from sartor.evaluation.trust import doubt, got_nothing_right, mostly_wrong

NEXT_TO_NOTHING = 0.001
"""Of a cost: a share that is not worth a number."""
AFTER_FAILURES = "Ship nothing yet. Mend what failed, or leave it out, and run again."


@dataclass(frozen=True, slots=True)
class Words:
    """The sentences, in the order people ask."""

    ship: str
    why: str
    how_sure: str
    costs: str
    still_wrong: str
    would_change: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The verdict of a run."""

    words: Words
    subject: str | None
    """Whose mistakes and slices these are: the winner, else the best."""
    mistakes: tuple[Mistake, ...]
    slices: tuple[SliceFinding, ...]
    """Worst first."""
    changes: tuple[Change, ...]
    break_even: tuple[BreakEven, ...]
    label_next: tuple[ToLabel, ...]


def summarize(
    decision: Decision,
    ranking: Ranking,
    reports: Sequence[Report],
    currency: str,
    seed: int,
    unlabelled: Unlabelled | None = None,
    labelled_for_one: float = 1.0,
    failed: bool = False,
) -> Summary:
    """Put the decision into words, with what stands behind them. Of so many newly labelled examples
    one comes into the test part, `labelled_for_one`; the others are trained on. Where candidates
    `failed`, more examples would name no winner."""
    scorer = decision.criteria.scorer
    by_name = {report.candidate: report for report in reports}
    subject = by_name.get(decision.winner or decision.best or "")
    short = mistakes(subject, scorer) if subject else ()
    slices: tuple[SliceFinding, ...] = ()
    if subject:
        examples = [prediction.example for prediction in subject.predictions]
        slices = slice_findings(examples, scores_of(subject, scorer), seed)
    found = changes(decision, ranking, reports, currency) if reports else ()
    evens = break_evens(reports)
    words = Words(
        ship=nothing_fit(str(decision.winner))
        if decision.winner and got_nothing_right(subject, scorer)
        else AFTER_FAILURES
        if failed
        else headline(decision, labelled_for_one),
        why=decision.reason,
        how_sure=" ".join(
            filter(
                None,
                (
                    _how_sure(decision, subject),
                    doubt(reports, scorer),
                    mostly_wrong(by_name.get(decision.winner or ""), decision.criteria),
                ),
            )
        ),
        costs=" ".join(_costs(decision, subject, currency, evens)),
        still_wrong=_still_wrong(subject, scorer, slices),
        would_change=tuple(change.says for change in found),
    )
    asked = label_next(decision, reports, unlabelled or Unlabelled(), labelled_for_one)
    name = subject.candidate if subject else None
    return Summary(words, name, short, slices, found, evens, asked)


def open_rivals(decision: Decision) -> tuple[Comparison, ...]:
    """Candidates that the winner, being the best, cannot be told from yet; soonest told first."""
    if decision.winner is None or decision.winner != decision.best:
        return ()
    rows = [row for row in decision.comparisons if row.verdict == "cannot tell"]
    return tuple(sorted(rows, key=lambda row: (row.label_more is None, row.label_more or 0)))


def nothing_fit(winner: str) -> str:
    """In place of what to ship, where the one that came first got nothing right."""
    return f"Nothing is fit to ship: every answer of {winner}, which came first, scored 0."


def headline(decision: Decision, labelled_for_one: float = 1.0) -> str:
    """What to ship, in one sentence."""
    if decision.winner is None:
        pair = undecided(decision)
        more = f" {_label(pair[2], labelled_for_one)}" if pair else ""
        return f"Ship nothing yet.{more}"
    rivals = open_rivals(decision)
    if not rivals:
        return f"Ship {decision.winner}."
    names = listed([row.candidate for row in rivals])
    return f"{decision.winner} leads, but cannot be told from {names} yet."


def _label(more: int, labelled_for_one: float) -> str:
    whole = ceil(more * labelled_for_one)
    if whole <= more:
        return f"Label about {more:,} more examples."
    return f"Label about {whole:,} more examples, so that about {more:,} of them are tested on."


def listed(names: Sequence[str], most: int = 3) -> str:
    """As a sentence has them."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _how_sure(decision: Decision, subject: Report | None) -> str:
    if subject is None:
        return "Nothing can be said: no candidate was scored."
    name = subject.candidate
    shown = "no difference"
    if decision.resolvable < 1:
        shown = f"differences of {decision.resolvable:.3f} or more"
    parts = [f"On {decision.n:,} held-out test examples, {shown} can be expected to show."]
    rows = [r for r in decision.comparisons if r.is_of_two and r.verdict != "stopped"]
    own = next((row for row in rows if row.candidate == name), None)
    if own:
        parts.append(
            f"{name} is between {_side(own.low)} and {_side(own.high)} {own.against}, and the "
            "chance of being wrong there is at most 5 % over all candidates together."
        )
    elif nearest := max(
        (row for row in rows if row.against == name), key=lambda r: r.difference, default=None
    ):
        parts.append(
            f"The nearest, {nearest.candidate}, is between {_side(nearest.low)} and "
            f"{_side(nearest.high)} it, and the chance that any such interval is wrong is at most "
            "5 % over all candidates together."
        )
    rivals = open_rivals(decision)
    if rivals and (more := rivals[0].label_more):
        parts.append(f"About {more:,} more test examples would tell {rivals[0].candidate} from it.")
    elif rivals and rivals[0].difference:
        parts.append(
            "More test examples alone would tell none of the others from it; more seeds might."
        )
    return " ".join(parts)


def _side(gap: float) -> str:
    return f"{abs(gap):.3f} {'below' if gap < 0 else 'above'}"


def _costs(
    decision: Decision, subject: Report | None, currency: str, evens: Sequence[BreakEven]
) -> Iterator[str]:
    if subject is None:
        return
    name, measured = subject.candidate, subject.measured
    if measured.cost_per_answer is None or measured.serving_cost is None:
        yield f"What {name} costs is not known: its answers were made elsewhere."
        return
    total = _money(measured.cost_per_answer * 1000)
    told = "are said to cost" if is_given(subject) else "cost"
    yield f"1,000 answers of {name} {told} {currency} {total}"
    spread = measured.cost_per_answer - measured.serving_cost
    if is_given(subject):
        yield "in all: they were made elsewhere."
    elif measured.training_cost and spread < NEXT_TO_NOTHING * measured.cost_per_answer:
        yield "to serve; making it adds less than a thousandth of that."
    elif measured.training_cost:
        yield (
            f"({_money(measured.serving_cost * 1000)} to serve, {_money(spread * 1000)} of "
            f"training spread over {measured.expected_requests:,} requests)."
        )
    else:
        yield "to serve; it needed no training."
    if measured.seconds_per_answer is not None:
        yield f"An answer takes {measured.seconds_per_answer:.2g} s."
    for one in evens:
        if one.requests is not None and name in (one.few, one.many):
            yield one.says


def _still_wrong(subject: Report | None, scorer: str, slices: Sequence[SliceFinding]) -> str:
    if subject is None:
        return "Nothing was answered."
    scored = scores_of(subject, scorer)
    bad = wrong(subject, scorer)
    said = f"{bad:,} of its {len(scored):,} answers scored below {WRONG}"
    said += f", {declined:,} of them refusals." if (declined := refused(subject, scorer)) else "."
    weak = [one for one in slices if one.finding and one.difference < 0]
    if weak:
        worst = "; ".join(
            f"{one.slice} ({one.mean:.3f} on {one.n:,}, {one.rest:.3f} elsewhere)"
            for one in weak[:3]
        )
        return f"{said} It is weaker than chance would make it on {worst}."
    if slices:
        return f"{said} No slice is worse than chance would make it."
    return said


def _money(amount: float) -> str:
    return f"{float(f'{amount:.3g}'):,.10g}"
