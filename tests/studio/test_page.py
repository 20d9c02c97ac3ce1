"""The report says the right thing, shows the numbers, and lets no hostile text through."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from sartor.data.records import Dropped, Example, Message, Passage
from sartor.evaluation.break_even import BreakEven
from sartor.evaluation.given import Given
from sartor.evaluation.label_next import ToLabel
from sartor.evaluation.records import (
    Comparison,
    Criteria,
    Decision,
    Estimate,
    Measured,
    Prediction,
    Report,
    Score,
    Verdict,
)
from sartor.evaluation.slice_findings import SliceFinding
from sartor.evaluation.summary import Summary, Words
from sartor.models.language_model import Completion
from sartor.studio.page import Counts, ReportPage, Trace, render

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
NAN = float("nan")
NOTHING_RIGHT = {"exact_match": Estimate(0.0, 0.0, 0.02, 200)}


def example(number: int, question: str = "", tag: str = "price") -> Example:
    words = question or f"What does product {number} cost?"
    return Example(f"e{number}", (Message("user", words),), (f"${number}",), tags=(tag,))


def report(
    name: str,
    mean: float,
    cost: float = 0.0001,
    answer: str = "I do not know.",
    examples: Sequence[Example] = (),
    passages: tuple[Passage, ...] = (),
) -> Report:
    completion = Completion(answer, "stop", 10, 5, 0.4, passages)
    estimate = Estimate(mean, mean - 0.05, mean + 0.05, 200)
    return Report(
        name,
        Measured(name, "thimble", 0.4, cost, 0, 0, 400 * 2**20),
        tuple(Prediction(one, completion) for one in examples),
        tuple(Score(one.id, "exact_match", mean) for one in examples),
        {"exact_match": estimate, "rouge_l": estimate},
        {"price": {"exact_match": estimate}, "empty": {"exact_match": Estimate(NAN, NAN, NAN, 0)}},
    )


def against(
    name: str, verdict: Verdict, best: str = "rag", label_more: int | None = None
) -> Comparison:
    return Comparison(name, best, -0.01, -0.02, 0.01, 0.4, verdict, f"because {name}", label_more)


def decided(
    winner: str | None, best: str | None, *comparisons: Comparison, reason: str = "As recorded."
) -> Decision:
    return Decision(winner, best, reason, Criteria("exact_match", 0.03), 200, 0.06, comparisons)


def page(decision: Decision, *reports: Report) -> ReportPage:
    return ReportPage(
        project="Shop",
        base="thimble",
        created="2026-11-23T20:00:00Z",
        seed=7,
        decision=decision,
        reports=reports,
        counts=Counts(documents=41, train=1480, validation=165, test=200, passages=3120),
        looks=1,
    )


def plain_page() -> ReportPage:
    examples = [example(number) for number in range(3)]
    reports = [
        report(name, mean, examples=examples) for name, mean in (("rag", 0.7), ("lora", 0.5))
    ]
    return page(decided("rag", "rag", against("lora", "worse")), *reports)


def text_of(html: str) -> str:
    """What a reader sees, spaces made one."""
    body = re.sub(r"<(script|style)>.*?</\1>", "", html.split("<body>")[1], flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", "", body).split())


class Elements(HTMLParser):
    """All elements with their attributes, and what was left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "input", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_names_the_winner_and_says_why_how_sure_and_at_what_cost() -> None:
    dear = replace(report("rag", 0.70, cost=0.0005))
    cheap, plain = report("lora", 0.69), report("zero-shot", 0.2, cost=0.00005)
    decision = decided("lora", "rag", against("lora", "winner"), against("zero-shot", "worse"))
    told = text_of(render(page(decision, dear, cheap, plain)))
    assert "Ship lora." in told
    assert "It scores 69.0 of 100 (95 % interval 64.0 to 74.0) on 200 test examples" in told
    assert "The best, rag, scores 70.0: a difference of \u22121.0 points" in told
    assert "within the margin of 3 points" in told
    assert "1,000 answers cost $0.10, and one takes 0.40 s." in told
    assert "The best one costs 5 times as much" in told
    assert "customizing brought +49.0 points" in told


def test_of_answers_made_elsewhere_it_claims_no_customizing_and_no_training() -> None:
    theirs = replace(report("theirs", 0.9), measured=Given("theirs", {}).measured)
    decision = decided("theirs", "theirs", against("zero-shot", "worse"))
    html = render(page(decision, theirs, report("zero-shot", 0.2)))
    told = text_of(html)
    assert "It scores 90.0 of 100 (95 % interval 85.0 to 95.0) on 200 test examples. No" in told
    assert "customizing" not in told
    assert "held back from all training" not in told
    cells = html.split("Trainable parameters")[1].split("</tbody>")[0].split("<tr>")
    assert [">0<" in cell for cell in cells if "scope" in cell] == [False, True]


def test_it_says_when_nobody_wins_and_repeats_the_reason() -> None:
    decision = decided(
        None, "rag", against("rag", "refused"), reason="All cost more than the $0.01 allowed."
    )
    told = text_of(render(page(decision, report("rag", 0.7))))
    assert "No winner." in told
    assert "All cost more than the $0.01 allowed." in told
    assert "rag: because rag" in told
    assert "Ship" not in told.split("Leaderboard")[1].split("Know")[0]


def test_it_says_how_many_more_to_label_when_it_cannot_tell() -> None:
    decision = decided(
        None,
        "rag",
        against("lora", "cannot tell", label_more=1410),
        against("full", "cannot tell", label_more=260),
    )
    told = text_of(render(page(decision, report("rag", 0.7), report("lora", 0.68))))
    assert "Cannot tell yet: test on about 260 more." in told
    assert "About 1,410 more test examples would settle lora." in told
    assert "The figures below are of rag, the best so far." in told


def test_a_cheaper_candidate_that_might_do_is_mentioned() -> None:
    decision = decided("rag", "rag", against("lora", "cannot tell", label_more=90))
    told = text_of(render(page(decision, report("rag", 0.7, 0.002), report("lora", 0.66, 0.001))))
    assert "lora is cheaper and might be good enough: test on about 90 more examples" in told


def test_a_best_that_cannot_be_told_from_another_is_not_said_to_be_shipped() -> None:
    decision = decided("rag", "rag", against("lora", "cannot tell", label_more=90))
    html = render(page(decision, report("rag", 0.7), report("lora", 0.69)))
    told = text_of(html)
    assert "rag leads, but cannot be told from lora yet." in told
    assert "About 90 more test examples would settle that." in told
    assert "Ship" not in told.replace("Shop", "").split("Cost")[0]
    assert "Leads so far" in told


def summed_up() -> Summary:
    return Summary(
        Words("Ship rag.", "As recorded.", "", "", "", ("With a margin of 0.2, lora would win.",)),
        "rag",
        (),
        (SliceFinding("price", 40, 0.4, 0.8, -0.4, 0.002, True),),
        (),
        (BreakEven("rag", "lora", 1234), BreakEven("rag", "rag", None)),
        (ToLabel("request", "r1", "<b>How much?</b>", 0.5, "e1"),),
    )


def test_what_would_change_the_answer_and_what_to_label_are_told() -> None:
    told = text_of(render(replace(plain_page(), summary=summed_up())))
    assert "What would change the answer With a margin of 0.2, lora would win." in told
    assert "rag is cheaper up to 1,234 requests, lora beyond." in told
    assert "weak, p 0.002" in told
    assert "Answer &lt;b&gt;How much?&lt;/b&gt; expected disagreement 50 of 100" in told


def test_each_number_is_traced_to_the_file_that_holds_its_answers() -> None:
    traces = (Trace("rag", ".sartor/reports/rag.json", "0123456789abcdef" * 4),)
    told = text_of(render(replace(plain_page(), traces=traces)))
    assert "Where each number comes from" in told
    assert "rag .sartor/reports/rag.json sha256 0123456789abcdef…" in told
    assert "scored 70.0 · e0" in told  # a mistake, by the id that its row in that file has
    assert "Where each number comes from" not in text_of(render(plain_page()))


def test_a_lone_candidate_gets_a_whole_page() -> None:
    told = text_of(render(page(decided("rag", "rag"), report("rag", 0.7, examples=[example(1)]))))
    assert "Ship rag." in told
    assert "The only test example." in told


def test_a_run_without_candidates_still_gets_a_page() -> None:
    empty = replace(decided(None, None, reason="Every run failed."), n=0, resolvable=float("inf"))
    told = text_of(render(page(empty)))
    assert "Every run failed." in told
    assert "inf" not in re.findall(r"\w+", told)


def test_a_test_part_that_shows_nothing_says_so() -> None:
    reports = [report("rag", 0.7), report("lora", 0.5)]
    unsure = decided(None, "rag", against("lora", "cannot tell"))
    told = text_of(render(page(replace(unsure, resolvable=1.0), *reports)))
    assert "examples: too few to show any difference" in told
    assert "no difference can be expected to show; the margin you allow is" in told


def test_thirty_candidates_with_long_names_and_no_cost_fit() -> None:
    names = [f"{number} " + "long " * 60 for number in range(30)]
    reports = [
        report(name, 0.2 + at / 60, cost=0.0, examples=[example(1)])
        for at, name in enumerate(names)
    ]
    html = render(page(decided(names[-1], names[-1]), *reports))
    assert html.count('role="rowheader"') == 30
    assert ">free<" in html


def test_hostile_text_is_shown_and_never_run() -> None:
    asked = example(1, HOSTILE, tag=HOSTILE)
    passage = Passage(HOSTILE, 0, 5, HOSTILE, HOSTILE)
    hostile = report(
        HOSTILE, 0.4, answer=HOSTILE + "\x00\ud800", examples=[asked], passages=(passage,)
    )
    hostile.slices[HOSTILE] = hostile.slices["price"]
    hostile.estimates[HOSTILE] = hostile.estimates["rouge_l"]
    comparison = replace(against(HOSTILE, "cannot tell"), reason=HOSTILE)
    full = replace(
        page(decided(HOSTILE, HOSTILE, comparison, reason=HOSTILE), hostile),
        project=HOSTILE,
        base=HOSTILE,
        created=HOSTILE,
        dropped=(Dropped(HOSTILE, "document", HOSTILE, HOSTILE),),
        warnings=(HOSTILE,),
        personal_data={HOSTILE: 2},
        commands=(HOSTILE,),
        digests={HOSTILE: HOSTILE},
        versions={HOSTILE: HOSTILE},
        config_text=HOSTILE,
        currency=HOSTILE,
    )
    html = render(full)
    html.encode("utf-8")
    elements = Elements(html)
    assert [tag for tag, _ in elements.found].count("script") == 1
    assert "img" not in [tag for tag, _ in elements.found]
    assert not [name for _, attributes in elements.found for name in attributes if name[:2] == "on"]
    assert html.count("&lt;script&gt;") > 20
    assert "\x00" not in html


def test_the_markup_is_balanced() -> None:
    assert Elements(render(plain_page())).open == []


def test_it_asks_no_network_for_anything() -> None:
    html = render(plain_page())
    assert "://" not in html
    links = [
        value
        for _, attributes in Elements(html).found
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "data", "style"}
    ]
    assert links
    assert all(link and link.startswith(("#", "data:,")) for link in links)
    assert not re.search(r"@import|url\(", html)


def test_the_content_policy_forbids_all_but_its_own_style_and_script() -> None:
    html = render(plain_page())
    policy = next(
        attributes["content"] or ""
        for tag, attributes in Elements(html).found
        if tag == "meta" and "http-equiv" in attributes
    )
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        [inside] = re.findall(f"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_same_page_gives_the_same_file() -> None:
    assert render(plain_page()) == render(plain_page())


def test_what_was_dropped_is_counted_by_kind_of_reason() -> None:
    others = ("handbook", "manual-3", "price list")
    copies = [
        Dropped(f"d{other}", "document", f"has the same text as {other}; it was kept")
        for other in (*others, *others)
    ]
    long = [Dropped(f"l{n}", "example", f"{n},512 tokens are too many") for n in (3, 4)]
    lone = Dropped("e1", "example", "no answer given", "examples.jsonl:7")
    told = text_of(render(replace(plain_page(), dropped=(*copies, *long, lone))))
    assert "9 things were not used." in told
    assert "6 documents: has the same text as … it was kept" in told
    assert "2 examples: … tokens are too many" in told
    assert "1 example: no answer given" in told
    assert "and 3 more" in told


def test_only_so_many_examples_are_shown_and_the_disputed_are_among_them() -> None:
    examples = [example(number) for number in range(400)]
    best, other = report("rag", 1.0, examples=examples), report("lora", 1.0, examples=examples)
    disputed = {"e7", "e399"}
    scores = [
        replace(one, value=0.0) if one.example_id in disputed else one for one in other.scores
    ]
    html = render(page(decided("rag", "rag"), best, replace(other, scores=tuple(scores))))
    assert html.count('class="case"') == 120
    assert html.count(" data-disputed>") == 2
    assert "120 of 400 test examples" in text_of(html)
    assert "every answer scored in full" in text_of(html)


def test_huge_answers_leave_the_file_below_three_megabytes() -> None:
    examples = [example(number, "<" * 50_000) for number in range(200)]
    reports = [report(f"c{n}", 0.5, answer="<" * 50_000, examples=examples) for n in range(30)]
    html = render(page(decided("c0", "c0"), *reports))
    assert len(html.encode()) < 3_000_000
    assert "48,000 characters more" in text_of(html)


def test_the_worst_slice_comes_first() -> None:
    one = report("rag", 0.7)
    worse = {"exact_match": Estimate(0.31, 0.2, 0.4, 12)}
    html = render(page(decided("rag", "rag"), replace(one, slices={**one.slices, "a tag": worse})))
    [table] = re.findall(r'<table class="matrix">.*?</table>', html, flags=re.DOTALL)[:1]
    assert table.index("a tag") < table.index("price")
    assert "empty" not in table
    assert "31.0" in table


@pytest.mark.parametrize("looks", [2, 5])
def test_looking_often_at_the_test_part_is_admitted(looks: int) -> None:
    told = text_of(render(replace(plain_page(), looks=looks)))
    assert f"looked at {'twice' if looks == 2 else '5 times'}" in told


def test_counts_seed_and_versions_are_told() -> None:
    full = replace(
        plain_page(),
        personal_data={"email": 12},
        versions={"torch": "2.13.0"},
        digests={"split": "abc123"},
        commands=("sartor run shop",),
        config_text='scorer = "exact_match"',
    )
    told = text_of(render(full))
    for words in ("1,480", "3,120", "12 email", "2.13.0", "abc123", "sartor run shop", "Seed 7"):
        assert words in told
    assert "scorer = &#34;exact_match&#34;" in told


def test_what_got_nothing_right_is_not_shipped_though_it_came_first() -> None:
    reports = [replace(report(name, 0.0), estimates=NOTHING_RIGHT) for name in ("rag", "lora")]
    html = render(page(decided("rag", "rag", against("lora", "non-inferior")), *reports))
    told = text_of(html)
    assert "Ship" not in told
    assert "Nothing is fit to ship: every answer of rag, which came first, scored 0." in told
    assert "Came first, with nothing right" in told
    assert re.search(r"<h1[^>]*>Nothing is fit to ship\.</h1>", html)
