"""What of a claim must stand in the passages exactly: numbers, names and dates.

A number may be written in words ("seven" is 7), a date in another order: its day, month and year
are looked for one by one. Languages that capitalize common nouns are held to a stricter test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from sartor.evaluation.scorers.wording import numbers, words

_STEM = re.compile(r"(?<=\w{4})(?:ing|ed|es|s)$")
_STOP_WORDS = """
    a an and are as at be been but by can could did do does for from had has have he her his how i
    if in into is it its may more most no not of on or our she should so than that the their them
    then there these they this to was we were what when where which who will with would yes you your
"""
STOP = frozenset(_STOP_WORDS.split())
_MONTH_NAMES = """
    january february march april may june july august september october november december
"""
_MONTHS = _MONTH_NAMES.split()
_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety hundred"
_MAY = re.compile(r"\bMay\s+\d|\d\s+May\b")
"""The month, and not what may be."""
WRITTEN = {word: str(value) for value, word in enumerate(_UNITS.split())}
WRITTEN |= {word: str(value) for word, value in zip(_TENS.split(), range(20, 101, 10), strict=True)}
"""Numbers in words."""


def missing(claim: str, passages: Iterable[str]) -> str:
    """What of the claim's numbers and names the passages do not hold, for people; or nothing."""
    texts = tuple(passages)
    held: set[str] = set().union(*(figures(text) for text in texts))
    if gone := sorted(n for n in _claimed_numbers(claim) if not _holds(held, n)):
        return f"not in the passages: {', '.join(gone)}"
    given: set[str] = set().union(*(stems(text) for text in texts))
    months = {month for month in _MONTHS if str(_MONTHS.index(month) + 1) in held}
    names = {word for word in claim.split()[1:] if _is_capitalized(word)}
    if gone := sorted(name for name in names if not stems(name) <= given | months):
        return f"not in the passages: {', '.join(gone)}"
    return ""


@lru_cache(maxsize=8192)
def stems(text: str) -> frozenset[str]:
    """The words that carry meaning, without common English endings."""
    return frozenset(_STEM.sub("", word) for word in words(text) if word not in STOP)


@lru_cache(maxsize=8192)
def figures(text: str) -> frozenset[str]:
    """The numbers, and the parts of dates and ranges; those in words, and months, as digits."""
    found = numbers(text)
    parts = {part.lstrip("0") or part for number in found for part in re.split("[:/-]", number)}
    said = words(text)
    written = {WRITTEN[word] for word in said if word in WRITTEN}
    months = {str(_MONTHS.index(word) + 1) for word in said if word in _MONTHS and word != "may"}
    if _MAY.search(text):
        months.add("5")
    return frozenset(found | parts | written | months)


def _claimed_numbers(claim: str) -> set[str]:
    """Those in digits, and those in words but for "one", which is often no number."""
    written = {WRITTEN[word] for word in words(claim) if word in WRITTEN and word != "one"}
    return numbers(claim) | written


def _holds(held: set[str], number: str) -> bool:
    parts = [part.lstrip("0") or part for part in re.split("[:/-]", number)]
    return number in held or all(part in held for part in parts)


def _is_capitalized(word: str) -> bool:
    return next((letter.isupper() for letter in word if letter.isalnum()), False)
