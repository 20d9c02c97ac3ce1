"""The words of an answer, without what does not change its meaning.

As SQuAD's evaluation script (Rajpurkar et al. 2016, arXiv:1606.05250) does: case, punctuation and
English articles go. Unlike it, what makes a number stays ("12.99" is not "1299", "-5" not "5",
"3:30" not "330"), as does an article that ends the text ("Vitamin A"), and scripts that put no
space between words are taken character by character.
"""

from __future__ import annotations

import re
import unicodedata

_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SYMBOL = re.compile(r"[^\w\s]|_")
_ARTICLES = ("a", "an", "the")
_ARTICLE = re.compile(rf"\b(?:{'|'.join(_ARTICLES)})\b(?=\s+\S)")
_UNIT = re.compile(r"[$€£¥₹%]")
_SPACELESS = re.compile(r"([\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")


def normalize(text: str) -> str:
    """The text as it is compared; never empty unless `text` is blank."""
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_DASHES)
    bare = _ARTICLE.sub(" ", _SYMBOL.sub(_kept, _THOUSANDS.sub("", plain)))
    return " ".join(bare.split()) or " ".join(plain.split())


def same(one: str, other: str) -> bool:
    """Whether two texts say the same: "$5" is "5", but neither "€5" nor "5%" is "$5"."""
    units = set(_UNIT.findall(one)), set(_UNIT.findall(other))
    agree = not units[0] or not units[1] or units[0] == units[1]
    return agree and normalize(one) == normalize(other)


def words(text: str) -> list[str]:
    """The words of the normalized text."""
    return _SPACELESS.sub(r" \1 ", normalize(text)).split()


def is_article(text: str) -> bool:
    """Whether it is a word that `words` leaves out within others, such as the label "A"."""
    return normalize(text) in _ARTICLES


def stands_as_written(word: str, text: str) -> bool:
    """Whether the text has that word, letter by letter and by itself: "A" is not "a"."""
    return re.search(rf"(?<!\w){re.escape(word.strip())}(?!\w)", text) is not None


def numbers(text: str) -> set[str]:
    """The numbers, dates and times written in digits: "$1,200.50" is "1200.5"."""
    return {_plain_number(found) for found in _NUMBER.findall(normalize(text))}


def sentences(text: str) -> list[str]:
    """The sentences and list items, as they stand."""
    return [part for part in _SENTENCE_END.split(text) if part.strip()]


def _kept(symbol: re.Match[str]) -> str:
    """A symbol inside a number or at its head, and marks that belong to a letter; else nothing."""
    text, at = symbol.string, symbol.start()
    character, before, after = symbol[0], text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if unicodedata.category(character).startswith("M"):
        return character
    if before.isdigit() and after.isdigit():
        return character
    starts = not before or before.isspace() or before in "$€£¥₹(-"
    if starts and character == "." and after.isdigit():
        return character
    negative = after.isdigit() or after in {"$", "€", "£", "¥", "₹", "."}
    return character if starts and character == "-" and negative else ""


def _plain_number(found: str) -> str:
    """ "12.50" and "12.5" are one number; "2.0.0" and "12:50" are left alone."""
    whole, point, decimals = found.partition(".")
    if not point or not decimals.isdigit() or not whole.isdigit():
        return found
    return f"{whole}.{decimals.rstrip('0')}".rstrip(".")
