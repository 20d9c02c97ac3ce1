"""What a decision says to people: one or two plain sentences, with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sartor.evaluation.cost import price_of
from sartor.evaluation.records import Comparison, Criteria, Decision, Report


def candidate_reason(found: Comparison, fault: str, criteria: Criteria) -> str:
    """Why the candidate got its verdict."""
    if found.verdict == "refused":
        return f"Fails a criterion: {fault}."
    if found.candidate == found.against:
        return f"Has the highest {criteria.scorer}."
    if found.verdict in ("winner", "non-inferior"):
        return f"{_distance(found)}: within the margin of {criteria.margin:g}."
    if found.verdict == "worse":
        return f"{_distance(found)}: worse."
    return f"{_distance(found)}: cannot tell. {_label_more(found)}".rstrip()


def decision_reason(
    decision: Decision,
    reports: Sequence[Report],
    faults: Mapping[str, str],
    refusals: Sequence[str],
) -> str:
    """Why this winner, or why none."""
    if refusals:
        return f"No winner is named: {'; '.join(text.rstrip('.') for text in refusals)}."
    if not reports:
        return "No winner is named: there is no candidate to compare."
    if all(report.leaked for report in reports):
        return "No winner is named: all answers have seen the test part."
    if decision.best is None:
        scorer = decision.criteria.scorer
        return f"No winner is named: no test example has a {scorer} score from every candidate."
    if decision.winner is None:
        return _none_good_enough(decision, decision.best, faults)
    by_name = {report.candidate: report for report in reports}
    return f"{_praise(decision, decision.best, by_name)} {_caveat(decision, by_name)}".rstrip()


def _none_good_enough(decision: Decision, best: str, faults: Mapping[str, str]) -> str:
    if all(faults.values()):
        failing = f"The best, {best}, fails: {faults[best]}."
        return f"No winner: no candidate meets the criteria. {failing}"
    doubtful = _doubtful(decision)
    return (
        f"No winner: the best, {best}, fails a criterion ({faults[best]}), and no candidate that "
        f"meets them was shown to be within {decision.criteria.margin:g} of it. "
        + (f"{doubtful[0].candidate}: {_label_more(doubtful[0])}" if doubtful else "")
    ).rstrip()


def _praise(decision: Decision, best: str, reports: Mapping[str, Report]) -> str:
    name, criteria = str(decision.winner), decision.criteria
    [row] = [row for row in decision.comparisons if row.candidate == name]
    quality = f"{criteria.scorer} {_score(reports[name], criteria)}"
    on = f"on {decision.n:,} test examples"
    costs = {each: _cost(reports[each], criteria) for each in (name, best)}
    if len(reports) == 1:
        return f"{name} is the only candidate: {quality} {on}, at {costs[name]}."
    if name == best:
        return f"{name} wins with the highest {quality} {on}, at {costs[name]}."
    return (
        f"{name} is the cheapest that is good enough: {quality} {on}, at {costs[name]}. "
        f"The best, {best}, has {_score(reports[best], criteria)} at {costs[best]}; "
        f"{name} is at worst {-min(row.low, 0):.3f} below it, within the margin of "
        f"{criteria.margin:g}."
    )


def _caveat(decision: Decision, reports: Mapping[str, Report]) -> str:
    """What else must be known: candidates that might have won with more examples."""
    price = price_of(reports[str(decision.winner)])
    cheaper = [row for row in _doubtful(decision) if price_of(reports[row.candidate]) < price]
    if cheaper:
        names = _listed([row.candidate for row in cheaper])
        short = "costs less but" if len(cheaper) == 1 else "cost less but"
        return (
            f"{names} {short} could not be shown to be good enough on these examples. "
            f"{_label_more(cheaper[0], name=len(cheaper) > 1)}"
        ).rstrip()
    if decision.winner == decision.best and (doubtful := _doubtful(decision)):
        names = _listed([row.candidate for row in doubtful])
        more = _label_more(doubtful[0], name=len(doubtful) > 1)
        return f"It cannot be told apart from {names} yet. {more}".rstrip()
    return ""


def _doubtful(decision: Decision) -> list[Comparison]:
    """Candidates that cannot be told from the best; the soonest settled first."""
    rows = [row for row in decision.comparisons if row.verdict == "cannot tell"]
    return sorted(rows, key=lambda row: (row.label_more is None, row.label_more or 0))


def _label_more(row: Comparison, name: bool = False) -> str:
    return settled_by(row.label_more, row.difference, row.candidate if name else "it")


def settled_by(label_more: int | None, difference: float, what: str) -> str:
    """What would settle a "cannot tell": so many more test examples, or else more seeds; empty
    where neither would, since there is no difference to show."""
    if label_more is None and not difference:
        return ""
    if label_more is None:
        return f"The seeds differ too much for more examples to settle {what}: train more seeds."
    more = f"About {label_more:,} more test examples, on new documents where they have any,"
    return f"{more} would settle {what}."


def _distance(found: Comparison) -> str:
    side = "below" if found.difference < 0 else "above"
    gap = f"{abs(found.difference):.3f} {side}" if round(found.difference, 3) else "Level with"
    return f"{gap} {found.against} ({found.low:+.3f} to {found.high:+.3f})"


def _score(report: Report, criteria: Criteria) -> str:
    found = report.estimates[criteria.scorer]
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def _cost(report: Report, criteria: Criteria) -> str:
    if report.measured.cost_per_answer is None:
        return "a cost that is not known"
    cost = report.measured.cost_per_answer * 1000
    amount = f"{cost:,.0f}" if cost >= 1000 else f"{cost:.3g}"
    return f"{criteria.currency} {amount} per 1,000 answers".lstrip()


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
