"""Rows in which what examples begin with stands once: each example finds its own tokens in them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.training.packing import Encoded
from sartor.training.sharing import WORTH_SHARING, Row, Span, laid_out


def example(tokens: Sequence[int], prompt: int, name: str = "e") -> Encoded:
    return Encoded(name, tuple(tokens), prompt)


def path(row: Row, leaf: Span, virtual: int = 0) -> tuple[int, ...]:
    """The tokens of all places that the leaf's last place sees; -1 for virtual ones."""
    placed = (*([-1] * virtual), *row.tokens)
    runs = (*leaf.before, (leaf.start, leaf.end))
    return tuple(token for start, end in runs for token in placed[start:end])


def leaves(row: Row) -> list[Span]:
    seen = {run for span in row.spans for run in span.before}
    return [span for span in row.spans if (span.start, span.end) not in seen]


BEGINNINGS: tuple[list[int], ...] = ([], [7] * 20, [7] * 20 + [8] * 30, [9] * 50)
packs = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 1), max_size=6), st.integers(1, 4)),
    min_size=1,
    max_size=7,
)


@given(packs, st.integers(0, 3))
def test_every_example_stands_on_a_way_through_the_row(
    made: list[tuple[int, list[int], int]], virtual: int
) -> None:
    pack = []
    for kind, middle, answer in made:
        prompt = [*BEGINNINGS[kind], 5, *middle]
        pack.append(example([*prompt, *[6] * answer], len(prompt)))
    row = laid_out(pack, virtual)
    expected = sorted((*[-1] * virtual, *one.tokens) for one in pack)
    assert sorted(path(row, leaf, virtual) for leaf in leaves(row)) == expected
    for leaf in leaves(row):
        runs = (*leaf.before, (leaf.start, leaf.end))
        places = [place for start, end in runs for place in range(start, end)]
        assert [row.positions[place] for place in places] == list(range(len(places)))
    assert len(row.scored) == len(row.labels) == sum(len(e.tokens) - e.prompt for e in pack)
    placed = (*[-1] * virtual, *row.tokens)
    for place, label in zip(row.scored, row.labels, strict=True):
        assert placed[place + 1] == label  # the answer is never in what is shared


def test_what_several_begin_with_stands_once_at_every_level() -> None:
    system, document = [1] * 20, [2] * 30
    pack = [example([*system, *document, 10 + i, 5, 6], 51) for i in range(3)]
    pack += [example([*system, 30 + i, 5, 6], 21) for i in range(2)]
    row = laid_out(pack)
    assert len(row.tokens) == 20 + 30 + 5 * 3
    assert max(len(span.before) for span in row.spans) == 2


@pytest.mark.parametrize(("length", "spans"), [(WORTH_SHARING, 3), (WORTH_SHARING - 1, 2)])
def test_a_short_beginning_is_not_shared(length: int, spans: int) -> None:
    pack = [example([*[1] * length, 10 + i, 5], length + 1) for i in range(2)]
    assert len(laid_out(pack).spans) == spans


def test_equal_prompts_keep_their_last_token_each() -> None:
    pack = [example([*[1] * 40, 5 + i], 40) for i in range(2)]
    row = laid_out(pack)
    assert len(row.tokens) == 39 + 2 * 2
    assert len(set(row.scored)) == 2


def test_virtual_tokens_stand_once_before_all() -> None:
    pack = [example([10 + i, 11, 5], 2) for i in range(3)]
    row = laid_out(pack, virtual=4)
    assert len(row.positions) == 4 + len(row.tokens)
    assert all(span.before[0] == (0, 4) for span in row.spans[1:])
