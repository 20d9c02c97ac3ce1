"""Clean text: one Unicode form, no mojibake, no stray control characters, even whitespace.

What a reader would see stays: quotes, dashes and ligatures are not made plainer.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufeff\u200b\u00ad]")
_MOVES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SPACES = re.compile(r"[^\S\n]+")
_LINE_ENDS = re.compile(r"(?<! ) *\n *")  # tried where a run begins, not at each of its spaces
_TRAILING = re.compile(r"(?<![^\S\n])[^\S\n]+\n")
_BLANK_LINES = re.compile(r"\n{3,}")
_MOST_MARKS = 30  # on one letter: Unicode's Stream-Safe Text Format, UAX #15, section 13
_WORD = re.compile(r"\w+(?:[.,]\d+)*")


def clean(text: str) -> str:
    """Text as a person would type it; indentation and line breaks are kept."""
    text = _CONTROL.sub("", _mended(text.replace("\r\n", "\n").replace("\r", "\n")))
    text = unicodedata.normalize("NFC", _with_few_marks(text.replace("\u00a0", " ")))
    return _BLANK_LINES.sub("\n\n", _TRAILING.sub("\n", text)).strip()


def writable(text: str) -> str:
    """The text with lone surrogates replaced: JSON can hold them, and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def harmless(text: str) -> str:
    """For a terminal: what would move its cursor, colour it or turn the text round is shown as a
    mark; lines and tabs are kept."""
    return _MOVES.sub("\ufffd", text)


def flat(text: str) -> str:
    """All whitespace as single spaces: the text of one line, title or field."""
    return " ".join(text.split())


def reflowed(text: str) -> str:
    """Runs of spaces as one, no indentation; lines and paragraphs are kept."""
    lines = _LINE_ENDS.sub("\n", _SPACES.sub(" ", text))
    return _BLANK_LINES.sub("\n\n", lines).strip()


def words(text: str) -> list[str]:
    """Lower-case words and numbers ("1,496.5" is one), without punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", _with_few_marks(text)).casefold())


def normalized(text: str) -> str:
    """What two texts have in common that differ in case, punctuation and spacing only."""
    return " ".join(words(text)) or flat(text)


def _with_few_marks(text: str) -> str:
    """Accents past the thirtieth of one letter go: to sort n of them takes time of n * n."""
    return text if text.isascii() else _many_marks().sub(r"\1", text)


@cache
def _many_marks() -> re.Pattern[str]:
    marks = "".join(chr(code) for code in range(0x300, 0x1F000) if unicodedata.combining(chr(code)))
    return re.compile(f"([{marks}]{{{_MOST_MARKS}}})[{marks}]+")


def _mended(text: str) -> str:
    """Mojibake undone and lone surrogates replaced, so that the text can be written as UTF-8."""
    if text.isascii():
        return text
    text = writable(text)
    import ftfy

    config = _only_mojibake()
    lines = text.split("\n")
    return "\n".join(
        line if line.isascii() else ftfy.fix_text(line, config=config) for line in lines
    )


@cache
def _only_mojibake() -> Any:
    import ftfy

    return ftfy.TextFixerConfig(
        unescape_html=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        normalization=None,
    )
