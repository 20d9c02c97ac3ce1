"""The decision: which candidate is the cheapest that is good enough, if any can be named.

The rule, in order:

1. The best is the candidate with the highest mean of `criteria.scorer`, over the examples that
   every candidate has a score for; of equal ones the cheapest. It is picked on the same data, so it
   looks a little better than it is. That makes it harder to be called good enough, which is safe;
   and easier to be called worse, so p-values and upper ends are corrected for every pair the best
   could have been of.
2. Every other candidate is compared with it, paired by example. p-values are corrected by Holm's
   method, and so are the intervals: the candidate with the strongest evidence gets alpha/m, the
   next alpha/(m-1), and so on until one cannot be shown to be good enough; from there on the level
   stays. The chance that any candidate is wrongly called good enough is at most alpha/2 = 2.5 %.
   Being worse is another claim, with an order and levels of its own. The luck of a candidate's
   seeds is the same in all of its comparisons and is counted once for it (level.py).
3. Non-inferior: the interval of (candidate - best) lies above -margin. Worse: not that, and the
   interval lies below 0 with a corrected p below 0.05. Else: cannot tell, with the number of
   examples that would settle it.
4. The winner is the cheapest non-inferior candidate (the best counts as one) that meets every
   other criterion. Costs are measured on machines that are never quiet: what costs at most 1.5
   times the cheapest counts as the same price. Among those the higher mean wins, then the fewer
   trainable parameters, then the name, so that a rerun decides the same.
5. There is no winner when a refusal is given (a leak, too many looks, a failed run). Answers made
   elsewhere that have seen the test part are refused, and nobody is compared with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sartor.errors import SettingError
from sartor.evaluation.criteria import fault
from sartor.evaluation.decision_file import decision_json
from sartor.evaluation.ranking import Ranking, rank
from sartor.evaluation.reasons import candidate_reason, decision_reason
from sartor.evaluation.records import Comparison, Criteria, Decision, Report, Verdict
from sartor.evaluation.winning import is_good_enough, winner_of

__all__ = ["decide", "decided", "decision_json"]


def decide(
    reports: Sequence[Report], criteria: Criteria, *, seed: int, refusals: Sequence[str] = ()
) -> Decision:
    """Compare the candidates and name the winner, or say why there is none."""
    return decided(reports, criteria, seed=seed, refusals=refusals)[0]


def decided(
    reports: Sequence[Report], criteria: Criteria, *, seed: int, refusals: Sequence[str] = ()
) -> tuple[Decision, Ranking]:
    """The decision, and the numbers that it rests on."""
    if not 0 <= criteria.margin < 1:
        raise SettingError(
            f"criteria.margin is {criteria.margin}; it must be 0 or more and "
            "below 1 (0.03 is usual)"
        )
    honest = [report for report in reports if not report.leaked]  # copied scores rank nobody
    ranking = rank(honest, criteria.scorer, criteria.margin, seed)
    faults = {report.candidate: fault(report, criteria) for report in reports}
    winner = None if refusals else winner_of(reports, ranking, criteria)
    comparisons = [_compare(report, ranking, criteria, faults, winner) for report in reports]
    decision = Decision(
        winner=winner,
        best=ranking.best,
        reason="",
        criteria=criteria,
        n=ranking.n,
        resolvable=ranking.resolvable,
        comparisons=tuple(
            replace(c, reason=candidate_reason(c, faults[c.candidate], criteria))
            for c in comparisons
        ),
    )
    told = replace(decision, reason=decision_reason(decision, reports, faults, refusals))
    return told, ranking


def _compare(
    report: Report,
    ranking: Ranking,
    criteria: Criteria,
    faults: Mapping[str, str],
    winner: str | None,
) -> Comparison:
    """Without its reason yet."""
    name, best = report.candidate, ranking.best or ""
    verdict = _verdict(name, ranking, criteria, faults, winner)
    found = ranking.distances.get(name)
    if found is None:
        return Comparison(name, best if name == best else "", 0.0, 0.0, 0.0, 1.0, verdict, "")
    return Comparison(
        candidate=name,
        against=best,
        difference=found.paired.difference,
        low=found.interval.low,
        high=found.interval.high,
        p=found.p,
        verdict=verdict,
        reason="",
        label_more=found.paired.label_more(criteria.margin, found.level, found.upper)
        if verdict == "cannot tell"
        else None,
    )


def _verdict(
    name: str,
    ranking: Ranking,
    criteria: Criteria,
    faults: Mapping[str, str],
    winner: str | None,
) -> Verdict:
    if name == winner:
        return "winner"
    if faults[name]:
        return "refused"
    if name == ranking.best:
        return "best"
    if is_good_enough(name, ranking, criteria):
        return "non-inferior"
    found = ranking.distances.get(name)
    return "worse" if found and found.is_worse else "cannot tell"
