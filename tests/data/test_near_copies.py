"""Near-copies and contamination, checked against plain counting."""

from __future__ import annotations

import random
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from sartor.data.cleaning import words
from sartor.data.contamination import contamination
from sartor.data.near_copies import near_copies
from sartor.data.privacy import count_personal_data, is_card, is_iban
from sartor.data.shingles import jaccard, shingles


def text(seed: int, length: int = 120) -> list[str]:
    generator = random.Random(seed)
    return [f"w{generator.randrange(5000)}" for _ in range(length)]


def shares(one: str, other: str, run: int) -> bool:
    """Contamination by the definition: some run of words in both."""
    first, second = words(one), words(other)
    runs = {tuple(first[n : n + run]) for n in range(len(first) - run + 1)}
    return any(tuple(second[n : n + run]) in runs for n in range(len(second) - run + 1))


def test_jaccard_of_shingles_is_that_of_plain_sets() -> None:
    one, other = "a b c d e f", "a b c d e x"
    sets = [{tuple(t.split()[n : n + 3]) for n in range(4)} for t in (one, other)]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert jaccard(shingles(one, 3), shingles(other, 3)) == expected


def test_planted_copies_are_found_and_nothing_else() -> None:
    texts = [" ".join(text(seed)) for seed in range(300)]
    copies = [" ".join(["new", *text(seed)[1:]]) for seed in range(0, 300, 3)]
    clusters = near_copies([shingles(one, 3) for one in [*texts, *copies]])
    assert clusters == [[seed, 300 + n] for n, seed in enumerate(range(0, 300, 3))]


def test_copies_with_other_labels_are_not_compared() -> None:
    same = [shingles("a b c d e f g", 3)] * 3
    assert near_copies(same, ["x", "y", "x"]) == [[0, 2]]


WORDS = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=6))
def test_contamination_is_a_shared_run_of_words(texts: list[str], against: list[str]) -> None:
    found = {overlap.index for overlap in contamination(texts, against, run=3)}
    assert found == {
        n for n, one in enumerate(texts) if any(shares(one, other, 3) for other in against)
    }


def test_contamination_shows_the_run_and_ignores_case_and_punctuation() -> None:
    run = "the quick brown fox jumps over the lazy dog and then goes home"
    [overlap] = contamination(["nothing", f"He said: {run.upper()}!"], iter([f"so, {run}"]))
    assert (overlap.index, overlap.shared, overlap.words) == (1, 1, run)
    assert contamination([run.rsplit(" ", 1)[0]], [run]) == []


def test_shingles_are_the_same_in_every_process() -> None:
    code = "from sartor.data.shingles import shingles; print(shingles('a b c d', 3).tolist())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True
        ).stdout
        for _ in range(2)
    }
    assert outputs == {f"{shingles('a b c d', 3).tolist()}\n"}


def test_card_and_account_numbers_must_pass_their_checks() -> None:
    assert is_card("4111 1111 1111 1111")
    assert not is_card("4111 1111 1111 1112")
    assert is_iban("DE89 3704 0044 0532 0130 00")
    assert not is_iban("DE88 3704 0044 0532 0130 00")


def test_dates_prices_and_ids_are_no_phone_numbers() -> None:
    texts = [
        "2019-04-01 to 2020-05-01, $1,496.5 million, ISBN 978-3-16-148410-0, m49992, 1914-1918"
    ]
    assert count_personal_data(texts) == {}
    numbers = ["(877) 222-8387", "1-800-273-8255", "+49 30 1234567", "+1 (202) 555-0123"]
    assert count_personal_data(numbers) == {"phone number": 4}
