"""Words to make tasks of that no task has by chance: none of them is the name of an attribute."""

from __future__ import annotations

from itertools import product

import pytest

from skills import Words

SYLLABLES = ("fa", "ge", "hi", "jo", "ku", "lem", "mip", "nur", "pol", "quag")


@pytest.fixture(scope="session")
def words() -> Words:
    nouns = tuple("".join(parts) for parts in product(SYLLABLES, repeat=3))
    spans = tuple(f"{nouns[i]} {nouns[i + 7]} {nouns[i + 400]}" for i in range(300))
    sentences = tuple(f"The {' '.join(nouns[i : i + 6])}." for i in range(0, 900, 3))
    paragraphs = tuple(" ".join(sentences[i : i + 4]) for i in range(0, 296, 4))
    return Words(nouns, spans, sentences, paragraphs)
