"""The verdict in words: what to ship, and what would change that, found by deciding again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from sartor.data.records import Document
from sartor.evaluation import decision_file
from sartor.evaluation.break_even import BreakEven, break_evens
from sartor.evaluation.decide import decide, decided
from sartor.evaluation.decision_file import decision_json, summary_of
from sartor.evaluation.given import Given
from sartor.evaluation.label_next import Unlabelled, label_next, rows_to_fill, to_fill, undecided
from sartor.evaluation.records import Criteria, Report, Verdict
from sartor.evaluation.stopping import hopeless
from sartor.evaluation.summary import Summary, summarize
from sartor.studio.export import Told, exported

Planted = Callable[..., Report]
CRITERIA = Criteria("planted", margin=0.05)


def base(n: int = 300) -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(0.3, 0.9, size=n)


def noisy(values: NDArray[np.float64], shift: float, seed: int = 1) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(0, 0.1, size=len(values))
    return np.clip(values + shift + noise, 0, 1)


def priced(report: Report, serving: float, training: float, requests: int = 1000) -> Report:
    cost = serving + training / requests
    measured = replace(
        report.measured,
        cost_per_answer=cost,
        training_cost=training,
        expected_requests=requests,
    )
    return replace(report, measured=measured)


def summary(reports: list[Report], criteria: Criteria = CRITERIA, **more: Any) -> Summary:
    decision, ranking = decided(reports, criteria, seed=0)
    return summarize(decision, ranking, reports, "USD", 0, **more)


def test_it_says_to_ship_only_what_is_told_from_the_others(planted: Planted) -> None:
    sure = summary([planted("a", base()), planted("b", noisy(base(), -0.3))])
    assert sure.words.ship == "Ship a."
    unsure = summary([planted("a", base(15)), planted("b", noisy(base(15), -0.04), cost=5)])
    assert unsure.words.ship == "a leads, but cannot be told from b yet."
    refused = summary([planted("a", base())], replace(CRITERIA, at_least=0.99))
    assert refused.words.ship == "Ship nothing yet."


def test_the_nearest_is_the_one_that_scored_nearest(planted: Planted) -> None:
    """And not the one whose interval reaches highest, because it is the widest."""
    best = np.array([0.9, 0.2] * 20)
    near, far = best - np.tile([0.09, 0.05], 20), best.copy()
    far[:10] = 1.1 - far[:10]
    found = summary([planted("a", best), planted("near", near), planted("far", far - 0.08)])
    assert "The nearest, near, is between" in found.words.how_sure


def test_what_the_test_part_can_show_is_said(planted: Planted) -> None:
    values = {"a": 1.0, "b": 0.0}
    for drawn, shown in ((4, "no difference"), (80, r"differences of 0\.\d{3} or more")):
        groups = [str(i % drawn) for i in range(80)]
        reports = [planted(name, [value] * 80, groups=groups) for name, value in values.items()]
        told = summary(reports).words.how_sure
        assert re.match(f"On 80 held-out test examples, {shown} can be expected to show", told)


def test_of_one_without_a_score_no_distance_is_told(planted: Planted) -> None:
    reports = [planted("a", base()), planted("mute", [None] * 300)]
    decision, ranking = decided(reports, CRITERIA, seed=0)
    found = summarize(decision, ranking, reports, "USD", 0)
    assert "mute" not in found.words.how_sure
    rows = {one["name"]: one for one in decision_json(decision, reports, found)["candidates"]}
    assert [rows["mute"][key] for key in ("difference", "low", "high", "p")] == [None] * 4
    assert [rows["a"][key] for key in ("difference", "low", "high", "p")] == [0, 0, 0, 1]
    told = exported(Told("x", decision, tuple(reports), found, "USD"), "md")
    assert "| mute | - | - | - |" in told


def test_what_made_elsewhere_is_said_to_cost_is_not_said_to_have_needed_no_training(
    planted: Planted,
) -> None:
    own = planted("theirs", base(), cost=0.01)
    given = Given("theirs", {}, seconds_per_answer=2.0, cost_per_answer=0.01)
    assert "it needed no training" in summary([own]).words.costs
    assert summary([replace(own, measured=given.measured)]).words.costs == (
        "1,000 answers of theirs are said to cost USD 10 in all: they were made elsewhere. An "
        "answer takes 2 s."
    )


def test_a_margin_that_would_change_the_answer_is_found_and_does(planted: Planted) -> None:
    reports = [planted("dear", base(), cost=9), planted("cheap", noisy(base(), -0.08), cost=1)]
    found = summary(reports)
    assert found.subject == "dear"
    [change] = [one for one in found.changes if one.what == "margin"]
    assert (change.winner, change.now) == ("cheap", 0.05)
    assert decide(reports, replace(CRITERIA, margin=change.at), seed=0).winner == "cheap"
    closer = replace(CRITERIA, margin=change.at - 0.001)
    assert decide(reports, closer, seed=0).winner == "dear"
    assert change.says in found.words.would_change


def test_a_narrower_margin_is_found_as_well(planted: Planted) -> None:
    reports = [planted("dear", base(), cost=9), planted("cheap", noisy(base(), -0.02), cost=1)]
    [change] = [one for one in summary(reports).changes if one.what == "margin"]
    assert change.winner == "dear"
    assert 0 < change.at < 0.05
    narrow = replace(CRITERIA, margin=change.at)
    assert decide(reports, narrow, seed=0).winner == "dear"


def test_the_number_of_requests_that_would_change_the_answer_is_the_one_that_does(
    planted: Planted,
) -> None:
    values = base()
    prompt = priced(planted("prompt", values), serving=3.0, training=0.0)
    lora = priced(planted("lora", values - 0.001), serving=1.0, training=10_000.0)
    found = summary([prompt, lora])
    assert found.subject == "prompt"
    [change] = [one for one in found.changes if one.what == "requests"]
    assert change.winner == "lora"
    # the same price up to 1.5 times the cheapest: 3 = 1.5 (1 + 10,000 / N)
    assert change.at == pytest.approx(10_000, rel=1e-5)
    for requests, winner in ((9_990, "prompt"), (10_010, "lora")):
        reports = [priced(prompt, 3.0, 0.0, requests), priced(lora, 1.0, 10_000.0, requests)]
        assert decide(reports, CRITERIA, seed=0).winner == winner


def test_the_price_that_would_change_the_answer_is_the_one_that_does(planted: Planted) -> None:
    values = base()
    dear, cheap = planted("dear", values, cost=9), planted("cheap", values - 0.001, cost=1)
    changes = [one for one in summary([dear, cheap]).changes if one.what == "price"]
    assert {(one.candidate, one.winner) for one in changes} == {("dear", "dear"), ("cheap", "dear")}
    at = {one.candidate: one.at for one in changes}
    assert at == pytest.approx({"dear": 1.5, "cheap": 6.0}, rel=1e-4)


def test_a_limit_that_keeps_the_best_out_is_named(planted: Planted) -> None:
    reports = [planted("slow", base(), seconds=9.0), planted("quick", noisy(base(), -0.2))]
    found = summary(reports, replace(CRITERIA, max_seconds=1))
    assert "Without the limit max_seconds = 1, slow would be the answer." in (
        found.words.would_change
    )


def test_break_even_is_where_the_lines_of_cost_cross(planted: Planted) -> None:
    reports = [
        priced(planted("prompt", base(20)), serving=3.0, training=0.0),
        priced(planted("lora", base(20)), serving=1.0, training=100.0),
        priced(planted("full", base(20)), serving=2.0, training=300.0),
        replace(planted("given", base(20)), measured=replace(
            planted("given", base(20)).measured, cost_per_answer=None)),
    ]  # fmt: skip
    assert break_evens(reports) == (
        BreakEven("prompt", "lora", 50),
        BreakEven("prompt", "full", 300),
        BreakEven("lora", "lora", None),
    )


def test_the_ten_worst_answers_come_worst_first(planted: Planted) -> None:
    found = summary([planted("a", base(40))])
    scores = [one.score for one in found.mistakes]
    assert scores == sorted(base(40))[:10]
    assert [one.output for one in found.mistakes] == [str(score) for score in scores]


def test_refusals_among_what_it_gets_wrong_are_counted_apart(planted: Planted) -> None:
    """Whatever the scorer says of them; of what nothing can answer they are no fault."""
    made = planted("a", [0.9] * 20 + [0.1] * 10)
    assert summary([made]).words.still_wrong.startswith("10 of its 30 answers scored below 0.5. ")
    declined = [
        replace(p, completion=replace(p.completion, text="I don't know.")) if i >= 15 else p
        for i, p in enumerate(made.predictions)
    ]
    last = replace(declined[-1].example, answerable=False)
    mixed = replace(made, predictions=(*declined[:-1], replace(declined[-1], example=last)))
    said = summary([mixed]).words.still_wrong
    assert said.startswith("10 of its 30 answers scored below 0.5, 9 of them refusals. ")


def test_what_to_label_is_where_the_two_are_likeliest_to_disagree(planted: Planted) -> None:
    random = np.random.default_rng(1)
    first = np.full(30, 0.5)
    second = np.where(np.arange(30) < 15, 0.5 + random.choice([-0.45, 0.4], size=30), 0.5)
    reports = [planted("a", first), planted("b", second)]
    words = ["refund of money" if n < 15 else "colour of lamps" for n in range(30)]
    reports = [
        replace(
            report,
            predictions=tuple(
                replace(p, example=replace(p.example, targets=(word,)))
                for p, word in zip(report.predictions, words, strict=True)
            ),
        )
        for report in reports
    ]
    unlabelled = Unlabelled(
        (Document("d1", "On the colour of lamps.", ""), Document("d2", "Getting a refund.", "")),
        (("r1", "which colour?"), ("r2", "a refund please"), ("r3", "?"), ("r4", "which colour?")),
        frozenset({"?"}),
    )
    found = summary(reports, unlabelled=unlabelled)
    assert [(one.kind, one.id) for one in found.label_next] == [
        ("request", "r2"), ("request", "r1"), ("document", "d2"), ("document", "d1"),
    ]  # fmt: skip
    assert found.label_next[0].disagreement > 0.3 > found.label_next[1].disagreement
    rows = [json.loads(line) for line in to_fill(found.label_next).split("\n")[:-1]]
    assert rows == rows_to_fill(found.label_next)
    assert (rows[0]["input"], rows[0]["output"]) == ("a refund please", "")
    assert (rows[2]["input"], rows[2]["document_id"]) == ("", "d2")
    told = summary([planted("a", base()), planted("b", noisy(base(), -0.3))], unlabelled=unlabelled)
    assert told.label_next == ()


def test_the_file_holds_the_words_first_and_gives_the_summary_back(planted: Planted) -> None:
    reports = [planted("a", base(50)), planted("b", noisy(base(50), -0.2))]
    found = summary(reports)
    decision = decide(reports, CRITERIA, seed=0)
    told = json.loads(json.dumps(decision_json(decision, reports, found)))
    assert next(iter(told)) == "summary"
    assert list(told["summary"]) == [
        "ship", "why", "how_sure", "costs", "still_wrong", "would_change",
    ]  # fmt: skip
    assert list(told)[-7:] == [
        "candidates", "subject", "mistakes", "slices", "changes", "break_even", "label_next",
    ]  # fmt: skip
    assert summary_of(told) == found


def test_every_verdict_is_listed_where_the_keys_are() -> None:
    assert f"verdict           {', '.join(get_args(Verdict))}" in str(decision_file.__doc__)


def test_hopeless_on_validation_is_stopped_and_near_is_not(planted: Planted) -> None:
    best = planted("best", base())
    far = hopeless(planted("far", noisy(base(), -0.3)), [best], "planted", 0.05, 0)
    assert far is not None
    assert (far.verdict, far.against) == ("stopped", "best")
    assert far.high < -0.05
    assert hopeless(planted("near", noisy(base(), -0.05)), [best], "planted", 0.05, 0) is None
    assert hopeless(planted("first", base()), [], "planted", 0.05, 0) is None


def test_candidates_within_the_margin_are_hardly_ever_stopped(planted: Planted) -> None:
    stopped = 0
    for world in range(40):
        values = np.random.default_rng(world).uniform(0.3, 0.9, size=60)
        at_margin = planted("c", noisy(values, -0.05, world))
        stopped += hopeless(at_margin, [planted("best", values)], "planted", 0.05, 0) is not None
    assert stopped <= 1


def test_where_nobody_got_anything_right_the_words_say_so(planted: Planted) -> None:
    zero, one = np.zeros(40), np.array([0.0] * 39 + [0.1])
    said = "Every answer of every candidate scored 0 by planted: nothing here is fit to ship."
    assert said in summary([planted("a", zero), planted("b", zero)]).words.how_sure
    assert said not in summary([planted("a", zero), planted("b", one)]).words.how_sure


def test_what_got_nothing_right_is_not_shipped_though_it_came_first(planted: Planted) -> None:
    zero = np.zeros(400)
    reports = [planted("a", zero), planted("b", zero, cost=5)]
    assert decide(reports, CRITERIA, seed=0).winner == "a"
    said = "Nothing is fit to ship: every answer of a, which came first, scored 0."
    assert summary(reports).words.ship == said
    assert summary([planted("a", zero[:9]), planted("b", zero[:9])]).words.ship == said


def test_how_many_to_label_counts_those_that_will_not_be_tested_on(planted: Planted) -> None:
    reports = [planted("a", base(15)), planted("b", noisy(base(15), -0.04), cost=5)]
    decision, ranking = decided(reports, CRITERIA, seed=0, refusals=["looked at too often"])
    pair = undecided(decision)
    assert pair
    more = pair[2]
    plain = summarize(decision, ranking, reports, "USD", 0)
    assert f"Label about {more:,} more examples." in plain.words.ship
    fifth = summarize(decision, ranking, reports, "USD", 0, labelled_for_one=5.0)
    said = f"Label about {5 * more:,} more examples, so that about {more:,} of them are tested on."
    assert said in fifth.words.ship
    documents = tuple(Document(f"d{n}", "x", "", "", "", "", "") for n in range(5 * more + 9))
    asked = label_next(decision, reports, Unlabelled(documents), 5.0)
    assert len(asked) == min(100, 5 * more)


def test_one_that_comes_first_with_most_answers_wrong_is_not_passed_for_good(
    planted: Planted,
) -> None:
    reports = [planted("a", base() * 0.4), planted("b", noisy(base() * 0.4, -0.2))]
    low = summary(reports).words
    assert low.ship == "Ship a."
    assert "Most answers of a scored below 0.5 by" in low.how_sure
    assert "Most answers" not in summary(reports, replace(CRITERIA, at_least=0.1)).words.how_sure
    assert "Most answers" not in summary([planted("a", base())]).words.how_sure
