"""Groundedness: how much of an answer stands in the passages it was given.

A first, lexical version. Each sentence of the answer is supported when its numbers and its names
stand in the passages, and most of its other words stand there or in the question. Dates are numbers
and names ("3 May 2024").

What this is not: an entailment judgement. "The fee is not refundable" counts as supported by "the
fee is refundable"; a true paraphrase in other words, or a date in another notation, counts as not;
languages that capitalize common nouns are held to a stricter test. It catches invented figures and
names, the costliest inventions, at no cost and the same way every time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.refusal import abstained, says_nothing
from sartor.evaluation.scorers.wording import numbers, sentences, words

COVERAGE = 0.6
"""Share of a sentence's common words that must stand in the passages or the question."""

_CITATION = re.compile(r"\[\d+(?:,\s*\d+)*\]")
_BULLET = re.compile(r"^[ \t]*(?:[-*\u2022]|\d{1,2}[.)])[ \t]+(?=\S)", re.MULTILINE)
_STEM = re.compile(r"(?<=\w{4})(?:ing|ed|es|s)$")
_STOP_WORDS = """
    a an and are as at be been but by can could did do does for from had has have he her his how i
    if in into is it its may more most no not of on or our she should so than that the their them
    then there these they this to was we were what when where which who will with would yes you your
"""
_STOP = frozenset(_STOP_WORDS.split())


class Groundedness:
    """Share of the answer's sentences that the passages support.

    Applies to answers made with passages; an abstention claims nothing, so it gets no score.
    """

    name: ClassVar[str] = "groundedness"
    binary: ClassVar[bool] = False

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return [
            score
            for prediction in predictions
            if prediction.completion.passages and (score := self._score(prediction))
        ]

    def _score(self, prediction: Prediction) -> Score | None:
        text = _BULLET.sub("", _CITATION.sub("", prediction.completion.text))
        claims = [sentence for sentence in sentences(text) if not says_nothing(sentence)]
        if not claims or abstained(prediction):
            return None
        doubts = [doubt for claim in claims if (doubt := _doubt(claim, prediction))]
        value = 1 - len(doubts) / len(claims)
        return Score(prediction.example.id, self.name, value, "; ".join(doubts))


def _doubt(claim: str, prediction: Prediction) -> str:
    """What of the claim the passages do not hold; nothing when they support it."""
    texts = [f"{passage.title}\n{passage.text}" for passage in prediction.completion.passages]
    given: set[str] = set().union(*(_stems(text) for text in texts))
    figures: set[str] = set().union(*(_figures(text) for text in texts))
    if missing := sorted(n for n in numbers(claim) if not _holds(figures, n)):
        return f"not in the passages: {', '.join(missing)}"
    names = {word for word in claim.split()[1:] if _is_capitalized(word)}
    if missing := sorted(name for name in names if not _stems(name) <= given):
        return f"not in the passages: {', '.join(missing)}"
    asked: set[str] = set().union(*(_stems(turn.content) for turn in prediction.example.input))
    common = {stem for stem in _stems(claim) if not any(c.isdigit() for c in stem)}
    share = len(common & (given | asked)) / len(common) if common else 1.0
    return f"{share:.0%} of its words are in the passages: {claim!r}" if share < COVERAGE else ""


@lru_cache(maxsize=4096)
def _stems(text: str) -> frozenset[str]:
    """The words that carry meaning, without common English endings."""
    return frozenset(_STEM.sub("", word) for word in words(text) if word not in _STOP)


@lru_cache(maxsize=4096)
def _figures(text: str) -> frozenset[str]:
    """The numbers, and the parts of dates and ranges."""
    found = numbers(text)
    return frozenset(found | {part for number in found for part in re.split("[:/-]", number)})


def _is_capitalized(word: str) -> bool:
    return next((letter.isupper() for letter in word if letter.isalnum()), False)


def _holds(figures: set[str], number: str) -> bool:
    return number in figures or all(part in figures for part in re.split("[:/-]", number))
