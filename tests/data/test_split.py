"""The split: whole groups, the same for the same seed, and nothing shared."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sartor.data.grouping import grouped
from sartor.data.leaks import leaks, refuse_leaks
from sartor.data.records import Example, Message, Split, TrainingData
from sartor.data.split import Division, split
from sartor.errors import DataError, LeakError, SettingError


def example(
    n: int,
    text: str = "",
    target: str = "",
    *,
    evidence: tuple[str, ...] = (),
    group: str = "",
    tags: tuple[str, ...] = (),
) -> Example:
    question = Message("user", text or f"What is the code of item number {n} on the list?")
    return Example(
        f"e{n}", (question,), (target or f"code {n}",), group, f"x:{n}", evidence, tags=tags
    )


def divide(examples: list[Example], seed: int = 0, **limits: Any) -> Division:
    return split(examples, [], test_fraction=0.2, validation_fraction=0.1, seed=seed, **limits)


def parts(division: Division) -> tuple[set[str], set[str], set[str]]:
    data = division.split.training
    train, validation, test = (
        {one.id for one in part} for part in (data.train, data.validation, division.split.test)
    )
    return train, validation, test


def test_the_parts_have_about_the_sizes_asked_for() -> None:
    train, validation, test = parts(divide([example(n) for n in range(500)]))
    assert (len(train), len(validation), len(test)) == (350, 50, 100)


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    examples = [example(n) for n in range(200)]
    assert parts(divide(examples)) == parts(divide(list(reversed(examples))))
    assert parts(divide(examples)) != parts(divide(examples, seed=1))


def test_one_more_example_moves_few_others() -> None:
    examples = [example(n) for n in range(300)]
    before, after = parts(divide(examples)), parts(divide([*examples, example(1000)]))
    moved = sum(len(old - new - {"e1000"}) for old, new in zip(before, after, strict=True))
    assert moved <= 2


def test_every_tag_is_in_every_part_in_about_its_share() -> None:
    examples = [example(n, tags=("rare",) if n % 30 == 0 else ("common",)) for n in range(300)]
    division = divide(examples)
    for part in (division.split.training.validation, division.split.test):
        assert {tag for one in part for tag in one.tags} == {"rare", "common"}
    assert Counter(tag for one in division.split.test for tag in one.tags)["rare"] == 2


def test_examples_on_one_document_stay_together() -> None:
    examples = [example(n, evidence=(f"d{n // 5}",)) for n in range(300)]
    for part in parts(divide(examples)):
        documents = Counter(int(id[1:]) // 5 for id in part)
        assert set(documents.values()) <= {5}


def test_a_document_that_everyone_cites_ties_nothing() -> None:
    examples = [example(n, evidence=("terms", f"d{n // 2}")) for n in range(300)]
    groups = grouped(examples)
    assert groups.too_common == ("terms",)
    assert max(Counter(one.group for one in groups.examples).values()) == 2
    assert "terms" in divide(examples).warnings[0] + divide(examples).warnings[-1]


def test_examples_on_one_document_only_can_still_be_split() -> None:
    train, validation, test = parts(divide([example(n, evidence=("terms",)) for n in range(200)]))
    assert (len(train), len(validation), len(test)) == (140, 20, 40)


def test_paraphrases_with_one_answer_stay_together_and_templates_do_not_tie() -> None:
    long = "my parcel with order number 81 has not arrived after three weeks of waiting where is it"
    same = [example(0, long, "lost"), example(1, long + " now", "lost")]
    priced = [
        example(n, f"How much does the {a} {b} cost?", f"${n}")
        for n, (a, b) in enumerate([("red", "tent"), ("red", "rope")], 2)
    ]
    first, second, red, rope = grouped([*same, *priced]).examples
    assert first.group == second.group
    assert red.group != rope.group


def test_words_of_a_prompt_template_do_not_make_copies() -> None:
    template = "Read the message below and say with one word how its writer feels: " * 4
    examples = [
        example(n, f"{template} message {n * 7919} {n * 104729}", "angry") for n in range(200)
    ]
    assert len({one.group for one in grouped(examples).examples}) == 200


def test_groups_given_by_the_user_are_kept_and_hold_more_than_documents_do() -> None:
    examples = [example(n, group=f"g{n % 50}", evidence=("d",)) for n in range(200)]
    named = grouped(examples).examples
    assert [one.group for one in named] == [one.group for one in examples]
    assert grouped(named).examples == named


def test_limits_cut_the_parts_and_say_so() -> None:
    examples = [example(n, tags=("a" if n % 2 else "b",)) for n in range(500)]
    division = divide(examples, max_train=50, max_validation=20, max_test=40)
    assert tuple(map(len, parts(division))) == (50, 20, 40)
    assert Counter(drop.reason for drop in division.dropped) == {
        "beyond max_train = 50": 300,
        "beyond max_validation = 20": 30,
        "beyond max_test = 40": 60,
    }
    assert set(Counter(one.tags[0] for one in division.split.test).values()) == {20}


def test_too_small_a_test_part_is_an_error_with_numbers() -> None:
    with pytest.raises(
        DataError, match=r"30 examples in 30 groups give .* 6 to test on.*Label more"
    ):
        divide([example(n) for n in range(30)])
    with pytest.raises(DataError, match="in 1 groups"):
        divide([example(n, group="one") for n in range(300)])


def test_fewer_than_a_hundred_test_examples_are_warned_of() -> None:
    assert "the test part has 40 examples" in divide([example(n) for n in range(200)]).warnings[0]
    assert not divide([example(n) for n in range(600)]).warnings


def test_senseless_fractions_are_refused() -> None:
    with pytest.raises(SettingError, match=r"test_fraction is 0\.9"):
        split([example(1)], [], test_fraction=0.9, validation_fraction=0.1, seed=0)
    with pytest.raises(SettingError, match="a maximum of 0"):
        divide([example(1)], max_train=0)


def whole(train: list[Example], test: list[Example]) -> Split:
    return Split(TrainingData((), tuple(train), ()), tuple(test))


def test_leaks_are_found_by_input_near_copy_and_group() -> None:
    long = "my parcel with order number 81 has not arrived after three weeks of waiting where is it"
    assert leaks(whole([example(1)], [example(2)])) == []
    [same] = leaks(whole([example(1, "What now?", "a")], [example(2, "what  now", "b")]))
    assert same == "e1 (train) and e2 (test) have the same input"
    [near] = leaks(whole([example(1, long, "lost")], [example(2, long + " now", "Lost.")]))
    assert "nearly the same" in near
    assert leaks(whole([example(1, long, "lost")], [example(2, long + " now", "found")])) == []
    split = whole([example(1, group="g")], [example(2, group="g")])
    with pytest.raises(
        LeakError, match=r"1 examples are on both sides .* one group.*the same group"
    ):
        refuse_leaks(split)


SHORT = st.sampled_from(
    ["red tent", "Red  tent!", "blue tent", "rope", "a b c d e f g h", "a b c d e f g h i"]
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            SHORT,
            st.integers(0, 30),
            st.sampled_from(["x", "y"]),
            st.integers(0, 12),
            st.sampled_from(["", "", "g1", "g2"]),
        ),
        min_size=60,
        max_size=150,
    ),
    st.integers(0, 3),
)
def test_a_split_never_leaks(rows: list[tuple[str, int, str, int, str]], seed: int) -> None:
    examples = [
        example(n, f"{text} {number}", target, evidence=(f"d{document}",), group=group)
        for n, (text, number, target, document, group) in enumerate(rows)
    ]
    try:
        division = divide(examples, seed, max_train=30)
    except DataError:
        assume(False)
    assert leaks(division.split) == []
    ids = [id for part in parts(division) for id in part] + [drop.id for drop in division.dropped]
    assert sorted(ids) == sorted(one.id for one in examples)


def test_records_are_only_named_anew_by_grouping() -> None:
    examples = [example(n) for n in range(5)]
    assert [replace(one, group="") for one in grouped(examples).examples] == examples
