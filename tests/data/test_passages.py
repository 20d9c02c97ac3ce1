"""Passages: where texts are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.data.passages import cut
from sartor.data.records import Document
from sartor.errors import SettingError


def document(text: str, source: str = "a.md") -> Document:
    return Document("a", text, source, "Title")


TEXT = st.text(alphabet="ab. #-\n|!A", max_size=400)


@given(TEXT, st.integers(1, 120), st.integers(0, 60))
def test_passages_hold_all_of_the_text_exactly(text: str, size: int, overlap: int) -> None:
    overlap = min(overlap, size - 1)
    passages = cut(document(text), size, overlap)
    held: set[int] = set()
    for passage in passages:
        assert passage.text == text[passage.start : passage.end]
        assert passage.text.strip() == passage.text != ""
        assert len(passage.text) <= size + overlap
        held.update(range(passage.start, passage.end))
    assert {n for n, character in enumerate(text) if not character.isspace()} <= held
    assert sorted(passage.end for passage in passages) == [passage.end for passage in passages]


def test_a_heading_stays_with_what_follows_it() -> None:
    text = f"# Top\n\n{'First part. ' * 20}\n\n## Next\n\n{'Second part. ' * 20}"
    passages = cut(document(text), 260)
    assert passages[0].text.startswith("# Top\n\nFirst")
    assert any(passage.text.startswith("## Next\n\nSecond") for passage in passages)
    assert not any(passage.text.endswith("Next") for passage in passages)


def test_text_is_cut_between_sentences() -> None:
    text = "The tent is red. " * 40
    assert all(passage.text.endswith(".") for passage in cut(document(text), 100))


def test_short_paragraphs_share_a_passage() -> None:
    [passage] = cut(document("One.\n\nTwo.\n\nThree."), 100)
    assert passage.text == "One.\n\nTwo.\n\nThree."
    assert passage.title == "Title"


def test_a_record_stays_whole_up_to_half_more_than_the_size() -> None:
    text = "name: Tent\ndescription: " + "It is red. " * 90
    record = document(text.strip(), "shop.csv#a")
    assert len(cut(record, 700)) == 1
    assert len(cut(document(text.strip()), 700)) > 1
    assert len(cut(record, 500)) > 1


def test_overlap_repeats_whole_words_of_the_passage_before() -> None:
    text = " ".join(f"word{n}." for n in range(100))
    first, second = cut(document(text), 100, overlap=30)[:2]
    shared = text[second.start : first.end]
    assert 0 < len(shared) <= 30
    assert shared.startswith("word")


def test_senseless_sizes_are_refused() -> None:
    with pytest.raises(SettingError, match="size is 0"):
        cut(document("x"), 0)
    with pytest.raises(SettingError, match="overlap 10"):
        cut(document("x"), 10, 10)
