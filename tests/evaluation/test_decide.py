"""The cheapest that is good enough, and what is said when that cannot be known."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sartor.errors import DataError, SettingError
from sartor.evaluation.decide import decide, decision_json
from sartor.evaluation.level import Level
from sartor.evaluation.ranking import ALPHA, ranked
from sartor.evaluation.records import Comparison, Criteria, Decision, Report

Planted = Callable[..., Report]
CRITERIA = Criteria("planted", margin=0.05)


def base(n: int = 300, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0.3, 0.9, size=n)


def noisy(values: NDArray[np.float64], shift: float, seed: int = 1) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(0, 0.1, size=len(values))
    return np.clip(values + shift + noise, 0, 1)


def row(decision: Decision, name: str) -> Comparison:
    [found] = [c for c in decision.comparisons if c.candidate == name]
    return found


def verdicts(decision: Decision) -> dict[str, str]:
    return {c.candidate: c.verdict for c in decision.comparisons}


def test_the_cheapest_of_the_good_enough_wins(planted: Planted) -> None:
    reports = [
        planted("zero-shot", noisy(base(), -0.3, 1), cost=0.1),
        planted("lora", noisy(base(), -0.01, 2), cost=1),
        planted("rag", noisy(base(), -0.005, 3), cost=5),
        planted("full", base() + 0.005, cost=9),
    ]
    decision = decide(reports, CRITERIA, seed=0)
    assert verdicts(decision) == {
        "zero-shot": "worse", "lora": "winner", "rag": "non-inferior", "full": "best",
    }  # fmt: skip
    assert decision.best == "full"
    assert decision.reason.startswith(
        "lora is the cheapest that is good enough: planted 0.608 (0.5"
    )
    assert "on 300 test examples" in decision.reason
    assert "within the margin of 0.05" in decision.reason
    assert "at 1,000 per 1,000 answers" in decision.reason
    in_euros = decide(reports, replace(CRITERIA, currency="EUR"), seed=0)
    assert "at EUR 1,000 per 1,000 answers" in in_euros.reason


@pytest.mark.parametrize("graded", [True, False])
def test_planted_candidates_get_the_right_verdict_in_simulated_worlds(
    planted: Planted, graded: bool
) -> None:
    seen: dict[str, Counter[str]] = {name: Counter() for name in ("equal", "better", "worse")}
    for world in range(40):
        random = np.random.default_rng(world)
        hard = random.uniform(size=400)

        def scores(skill: float) -> NDArray[np.float64]:
            slips = random.uniform(size=400) < 0.05  # noqa: B023
            right = np.where(slips, 1.0 * (hard >= skill), 1.0 * (hard < skill))  # noqa: B023
            return np.where(right > 0, 0.9, 0.1) if graded else right

        reports = [
            planted("better", scores(0.75), cost=9),
            planted("equal", scores(0.75), cost=1),
            planted("worse", scores(0.55), cost=0.1),
        ]
        for name, verdict in verdicts(decide(reports, CRITERIA, seed=world)).items():
            seen[name][verdict] += 1
    assert seen["worse"]["worse"] == 40
    assert seen["equal"]["winner"] + seen["better"]["winner"] == 40
    assert seen["equal"]["winner"] >= 30
    assert seen["equal"]["worse"] + seen["better"]["worse"] <= 1


def test_candidates_at_the_margin_are_seldom_called_good_enough(planted: Planted) -> None:
    """Five that are truly one margin worse: by design any passes in at most 2.5 % of worlds."""
    passed = 0
    for world in range(120):
        random = np.random.default_rng(world)
        best = 1.0 * (random.uniform(size=250) < 0.8)
        rest = [np.where(random.uniform(size=250) < 0.1 / 0.8, 0.0, best) for _ in range(5)]
        reports = [planted(f"c{i}", values) for i, values in enumerate(rest)]
        reports.append(planted("best", best, cost=9))
        decision = decide(reports, replace(CRITERIA, margin=0.1), seed=0)
        passed += decision.winner != "best"
    assert passed <= 6


def test_equal_candidates_are_seldom_called_worse(planted: Planted) -> None:
    worse = 0
    for world in range(120):
        random = np.random.default_rng(world)
        hard = random.uniform(size=250) < 0.8
        slips = [random.uniform(size=250) < 0.1 for _ in range(6)]
        reports = [planted(f"c{i}", 1.0 * (hard ^ slip)) for i, slip in enumerate(slips)]
        worse += "worse" in verdicts(decide(reports, CRITERIA, seed=0)).values()
    assert worse <= 9  # 5 % of 120 is 6


def test_with_few_examples_it_says_how_many_more_would_settle_it(planted: Planted) -> None:
    reports = [
        planted("cheap", noisy(base(20), -0.03), cost=0.1),
        planted("dear", base(20), cost=1),
    ]
    decision = decide(reports, CRITERIA, seed=0)
    assert (decision.winner, verdicts(decision)["cheap"]) == ("dear", "cannot tell")
    more = row(decision, "cheap").label_more
    assert more
    assert (
        f"About {more:,} more test examples, on new documents where they have any, would settle it."
        in decision.reason
    )
    assert "cheap costs less but could not be shown to be good enough" in decision.reason
    settled = decide(
        [
            planted("cheap", noisy(base(20 + 4 * more), -0.03), cost=0.1),
            planted("dear", base(20 + 4 * more), cost=1),
        ],
        CRITERIA,
        seed=0,
    )
    assert verdicts(settled)["cheap"] != "cannot tell"


def test_it_says_when_the_winner_cannot_be_told_from_a_dearer_one(planted: Planted) -> None:
    reports = [
        planted("dear", noisy(base(15), -0.04), cost=5),
        planted("cheap", base(15), cost=1),
    ]
    decision = decide(reports, CRITERIA, seed=0)
    assert decision.winner == "cheap"
    assert "It cannot be told apart from dear yet." in decision.reason


def test_costs_that_differ_by_noise_count_as_the_same_price(planted: Planted) -> None:
    values = base()
    slower = planted("b", values, cost=1.4, parameters=9)
    assert decide([planted("a", values - 0.01), slower], CRITERIA, seed=0).winner == "b"
    dearer = planted("b", values, cost=1.6, parameters=9)
    assert decide([planted("a", values - 0.01), dearer], CRITERIA, seed=0).winner == "a"


def test_ties_go_to_fewer_parameters_and_then_to_the_name(planted: Planted) -> None:
    values = base()
    one = [planted("z", values, parameters=5), planted("a", values, parameters=9)]
    assert decide(one, CRITERIA, seed=0).winner == "z"
    two = [planted("z", values), planted("a", values)]
    assert decide(two, CRITERIA, seed=0).winner == "a"


def test_of_equal_means_the_cheapest_is_the_best(planted: Planted) -> None:
    halves = np.repeat([0.0, 1.0], 20)
    reports = [planted("a", halves, cost=4), planted("b", halves[::-1], cost=1)]
    decision = decide(reports, CRITERIA, seed=0)
    assert (decision.best, decision.winner) == ("b", "b")
    assert verdicts(decision)["a"] == "cannot tell"


def test_the_order_of_the_reports_changes_nothing(planted: Planted) -> None:
    reports = [planted(f"c{i}", noisy(base(60), -i / 50, i), cost=9 - i) for i in range(5)]
    one, other = decide(reports, CRITERIA, seed=0), decide(reports[::-1], CRITERIA, seed=0)
    assert one == replace(other, comparisons=other.comparisons[::-1])


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"at_least": 0.95}, "its planted of 0.6"),
        ({"max_seconds": 0.01}, "seconds an answer: 0.1, above the limit of 0.01"),
        ({"max_cost": 0.5}, "cost an answer: 1, above the limit of 0.5"),
        ({"max_memory_gb": 0.5}, "peak memory in GB: 1, above the limit of 0.5"),
    ],
)
def test_who_fails_a_criterion_is_refused(
    planted: Planted, limits: dict[str, float], why: str
) -> None:
    decision = decide([planted("only", base())], replace(CRITERIA, **limits), seed=0)  # type: ignore[arg-type]
    assert decision.winner is None
    assert row(decision, "only").verdict == "refused"
    assert why in row(decision, "only").reason
    assert why in decision.reason


def test_when_the_best_is_refused_one_as_good_may_win(planted: Planted) -> None:
    reports = [planted("slow", base(), seconds=9.0), planted("quick", noisy(base(), -0.01))]
    decision = decide(reports, replace(CRITERIA, max_seconds=1), seed=0)
    assert verdicts(decision) == {"slow": "refused", "quick": "winner"}


def test_when_the_best_is_refused_and_none_is_as_good_there_is_no_winner(planted: Planted) -> None:
    reports = [planted("slow", base(), seconds=9.0), planted("quick", noisy(base(), -0.2))]
    decision = decide(reports, replace(CRITERIA, max_seconds=1), seed=0)
    assert decision.winner is None
    assert verdicts(decision) == {"slow": "refused", "quick": "worse"}
    assert "no candidate that meets them was shown to be within 0.05 of it" in decision.reason


def test_refusals_leave_no_winner_but_still_the_comparisons(planted: Planted) -> None:
    reports = [planted("a", base()), planted("b", noisy(base(), -0.3))]
    decision = decide(reports, CRITERIA, seed=0, refusals=["the split leaks.", "lora failed"])
    assert decision.winner is None
    assert decision.reason == "No winner is named: the split leaks; lora failed."
    assert verdicts(decision) == {"a": "best", "b": "worse"}


def test_a_single_candidate_wins_by_meeting_the_criteria(planted: Planted) -> None:
    decision = decide([planted("only", base())], CRITERIA, seed=0)
    assert decision.winner == "only"
    assert decision.reason.startswith("only is the only candidate")


def test_no_candidates_are_no_winner() -> None:
    decision = decide([], CRITERIA, seed=0)
    assert decision.winner is None
    assert "no candidate to compare" in decision.reason


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_examples_decides_nothing_and_warns_of_nothing(
    planted: Planted, n: int
) -> None:
    reports = [planted("a", [0.5] * n), planted("b", [0.5] * n, cost=9)]
    decision = decide(reports, CRITERIA, seed=0)
    assert verdicts(decision) == {"a": "winner", "b": "cannot tell"}
    assert row(decision, "b").label_more
    assert decision.resolvable > 0.5


def test_worse_is_said_only_where_the_test_says_so_too(planted: Planted) -> None:
    """15 against 6 of 25: Newcombe and Tango just leave 0 out, and exact McNemar has 0.078."""
    first = [1.0] * 15 + [0.0] * 6 + [0.0] * 4
    second = [0.0] * 15 + [1.0] * 6 + [0.0] * 4
    decision = decide([planted("a", first), planted("b", second)], CRITERIA, seed=0)
    found = row(decision, "b")
    assert found.high < 0
    assert found.p > 0.05
    assert (found.verdict, found.label_more is not None) == ("cannot tell", True)


@pytest.mark.parametrize("n", [60, 155, 1000])
def test_right_or_wrong_no_fewer_than_eight_examples_are_said_to_show(
    planted: Planted, n: int
) -> None:
    """Exact McNemar needs six of one kind and none of the other; a chance of 80 % of them more."""
    never = decide([planted("a", [0.0] * n)], CRITERIA, seed=0)
    assert 6.9 < never.resolvable * n < 8
    graded = decide([planted("a", [0.5] * n)], CRITERIA, seed=0)
    assert graded.resolvable < never.resolvable


@pytest.mark.parametrize(
    ("candidates", "drawn", "too_small", "shown"),
    [(2, 16, 0.25, 0.26), (2, 40, 0.09, 0.1), (3, 16, 0.34, 0.35)],
)
def test_few_groups_are_said_to_show_only_what_they_can(
    planted: Planted, candidates: int, drawn: int, too_small: float, shown: float
) -> None:
    """Where all 80 examples differ by as much, those groups not drawn are what is left to doubt."""
    groups = [str(i % drawn) for i in range(80)]
    for difference, verdict in ((too_small, "cannot tell"), (shown, "worse")):
        means = {"a": 0.5, "b": 0.5 - difference, "c": 0.5 - difference}
        reports = [planted(name, [mean] * 80, groups=groups) for name, mean in means.items()]
        reports = reports[:candidates]
        decision = decide(reports, CRITERIA, seed=0)
        assert row(decision, "b").verdict == verdict
        assert too_small < decision.resolvable <= shown


def test_four_groups_show_nothing(planted: Planted) -> None:
    groups = [str(i % 4) for i in range(80)]
    values = {"a": 1.0, "b": 0.0}
    reports = [planted(name, [value] * 80, groups=groups) for name, value in values.items()]
    decision = decide(reports, CRITERIA, seed=0)
    assert (row(decision, "b").verdict, decision.resolvable) == ("cannot tell", 1)


def test_groups_are_resampled_as_wholes(planted: Planted) -> None:
    groups = [str(i // 10) for i in range(300)]
    shift = np.repeat(np.random.default_rng(5).normal(0, 0.15, size=30), 10)
    first, second = base(), np.clip(base() + shift, 0, 1)
    alone = decide([planted("a", first), planted("b", second)], CRITERIA, seed=0)
    grouped = decide(
        [planted("a", first, groups=groups), planted("b", second, groups=groups)], CRITERIA, seed=0
    )

    def width(decision: Decision) -> float:
        return max(c.high - c.low for c in decision.comparisons)

    assert width(grouped) > 2 * width(alone)


def test_only_examples_that_all_have_a_score_for_are_compared(planted: Planted) -> None:
    values = list(base(40))
    reports = [planted("a", [None, None, *values[2:]]), planted("b", values)]
    assert decide(reports, CRITERIA, seed=0).n == 38


def test_a_candidate_the_scorer_does_not_apply_to_is_refused(planted: Planted) -> None:
    reports = [planted("a", [None] * 40), planted("b", base(40))]
    decision = decide(reports, CRITERIA, seed=0)
    assert verdicts(decision) == {"a": "refused", "b": "winner"}
    assert "no planted score" in row(decision, "a").reason
    assert decision_json(decision, reports)["candidates"][0]["estimate"] is None


def test_scores_on_no_common_example_decide_nothing(planted: Planted) -> None:
    reports = [planted("a", [0.5, None]), planted("b", [None, 0.5])]
    decision = decide(reports, CRITERIA, seed=0)
    assert decision.winner is None
    assert "no test example has a planted score from every candidate" in decision.reason


def test_reports_on_other_examples_are_refused(planted: Planted) -> None:
    with pytest.raises(DataError, match="b answered 30 examples and a 20, 10 of them different"):
        decide([planted("a", base(20)), planted("b", base(30))], CRITERIA, seed=0)


def test_two_candidates_of_one_name_are_refused(planted: Planted) -> None:
    with pytest.raises(DataError, match="two reports are of one candidate"):
        decide([planted("a", base(20)), planted("a", base(20))], CRITERIA, seed=0)


def test_an_unknown_scorer_is_named(planted: Planted) -> None:
    with pytest.raises(SettingError, match=r"criteria\.scorer is 'f2'.*hold: planted"):
        decide([planted("a", base(20))], replace(CRITERIA, scorer="f2"), seed=0)


def test_a_margin_that_makes_no_sense_is_refused(planted: Planted) -> None:
    with pytest.raises(SettingError, match=r"margin is -0\.1"):
        decide([planted("a", base(20))], replace(CRITERIA, margin=-0.1), seed=0)


def test_the_json_has_the_documented_keys(planted: Planted) -> None:
    reports = [planted("a", base(50)), planted("b", noisy(base(50), -0.2))]
    found = json.loads(json.dumps(decision_json(decide(reports, CRITERIA, seed=0), reports)))
    assert list(found) == [
        "winner", "best", "reason", "scorer", "margin", "n", "resolvable", "candidates",
    ]  # fmt: skip
    assert list(found["candidates"][0]) == [
        "name", "technique", "base", "estimate", "cost_per_answer", "seconds_per_answer",
        "trainable_parameters", "training_seconds", "peak_memory_bytes", "verdict",
        "difference", "low", "high", "p", "reason", "label_more", "note",
    ]  # fmt: skip
    assert list(found["candidates"][0]["estimate"]) == ["mean", "low", "high"]
    assert found["winner"] == "a"


def test_those_shown_to_be_good_enough_make_it_no_easier_to_call_another_worse() -> None:
    """Four are shown to be near the best, so Holm's level for being near has come to alpha / 1; the
    fifth is called worse at alpha / 5, for each of the pairs the best could be picked from."""
    best = [1.0] * 270 + [0.0] * 30
    values = {"best": best} | {f"near {i}": [0.0, *best[1:]] for i in range(4)}
    values["last"] = [0.0] * 30 + best[30:270] + [1.0] * 9 + [0.0] * 21
    found = ranked(values, list(range(300)), 0.1, 0).distances
    assert all(found[f"near {i}"].interval.low > -0.1 for i in range(4))
    last = found["last"]
    assert last.level.alpha == ALPHA
    assert last.interval.high == last.paired.interval(Level(ALPHA / 5 / 3)).high
    assert last.paired.interval(Level(ALPHA / 3)).high < last.interval.high
