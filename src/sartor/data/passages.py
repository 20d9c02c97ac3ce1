"""Passages: documents cut into pieces that a retriever can find and a model can read.

A piece ends where the text does: before a heading, between paragraphs, items or sentences, and
inside a sentence only when that alone is too long. A heading stays with what follows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sartor.data.catalogue import is_record
from sartor.data.records import Document, Passage
from sartor.errors import SettingError

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_HEADING = re.compile(r"#{1,6}[ \t]+\S[^\n]*|[^\n]+\n(?:={3,}|-{3,})[ \t]*(?=\n|\Z)")
_SENTENCE = re.compile(
    r"(?<=[^\s.][.!?])[\"'\u201d\u2019)\]]*\s+(?=[\"'\u201c\u2018(\[]?[A-Z0-9])"
    r"|(?<=[\u3002\uff01\uff1f])"  # full stops, exclamation and question marks of Chinese
    r"|\n(?=\s*(?:[-*\u2022|]|\d+[.)])\s)|\n(?=[^\n:]{1,40}: )"  # items, rows, fields
)
_WHOLE_RECORD = 1.5  # times the size up to which a record is not cut

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of text that is not cut further."""

    start: int
    end: int
    starts_section: bool = False


def cut(document: Document, size: int = 700, overlap: int = 0) -> list[Passage]:
    """Passages of at most `size` characters, plus up to `overlap` repeated from the one before.

    Each is exactly `document.text[start:end]`; together they hold all of the text but whitespace.
    """
    if size < 1 or not 0 <= overlap < size:
        raise SettingError(
            f"passages: size is {size} and overlap {overlap}; "
            "size must be 1 or more, and overlap less than size"
        )
    text = document.text
    if is_record(document) and len(text) <= _WHOLE_RECORD * size:
        spans = [(0, len(text))]
    else:
        spans = _packed(list(_pieces(text, size)), size)
    spans = [
        _trimmed(text, _reaching_back(text, span, spans[n - 1][0] if n else span[0], overlap))
        for n, span in enumerate(spans)
    ]
    return [
        Passage(document.id, start, end, text[start:end], document.title)
        for start, end in spans
        if start < end
    ]


def _packed(pieces: list[_Piece], size: int) -> list[Span]:
    """Pieces put together while they fit; a section begins anew once half a passage is full."""
    spans: list[Span] = []
    for piece in pieces:
        start, end = spans[-1] if spans else (piece.start, piece.start)
        is_full = piece.end - start > size
        is_next = piece.starts_section and end - start > size / 2
        if spans and not is_full and not is_next:
            spans[-1] = (start, piece.end)
        else:
            spans.append((piece.start, piece.end))
    return spans


def _pieces(text: str, size: int) -> Iterator[_Piece]:
    for start, body, end in _blocks(text):
        first = True
        for piece_start, piece_end in _sentences(text, start, body, end, size):
            yield _Piece(piece_start, piece_end, starts_section=first and body > start)
            first = False


def _blocks(text: str) -> Iterator[tuple[int, int, int]]:
    """Paragraphs as (start, end of the headings on top, end)."""
    start = body = None
    for begin, end in _paragraphs(text):
        start = begin if start is None else start
        heading = _HEADING.match(text, begin, end)
        if heading and heading.end() == end:
            body = end
            continue
        yield start, max(body or start, heading.end() if heading else start), end
        start = body = None
    if start is not None:
        yield start, start, len(text)


def _paragraphs(text: str) -> Iterator[Span]:
    start = 0
    for gap in _PARAGRAPH.finditer(text):
        if gap.start() > start:
            yield start, gap.start()
        start = gap.end()
    if start < len(text):
        yield start, len(text)


def _sentences(text: str, start: int, body: int, end: int, size: int) -> Iterator[Span]:
    """The block whole if it fits, else its sentences; the first keeps the headings."""
    if end - start <= size:
        yield start, end
        return
    cuts = [match.end() for match in _SENTENCE.finditer(text, body, end) if match.end() > body + 1]
    for left, right in zip([start, *cuts], [*cuts, end], strict=True):
        if text[left:right].strip():
            yield from _words(text, left, right, size)


def _words(text: str, start: int, end: int, size: int) -> Iterator[Span]:
    """A sentence that is too long, cut between words; a word that is too long, anywhere."""
    while end - start > size:
        space = max(
            text.rfind(" ", start + 1, start + size), text.rfind("\n", start + 1, start + size)
        )
        middle = space + 1 if space > start else start + size
        yield start, middle
        start = middle
    yield start, end


def _reaching_back(text: str, span: Span, earliest: int, overlap: int) -> Span:
    """The span begun up to `overlap` characters sooner, at a word."""
    start, end = span
    if not overlap or start == 0:
        return span
    reach = max(start - overlap, earliest)
    word = re.compile(r"(?<=\s)\S").search(text, reach, start)
    return (word.start() if word else start), end


def _trimmed(text: str, span: Span) -> Span:
    piece = text[span[0] : span[1]]
    return span[0] + len(piece) - len(piece.lstrip()), span[1] - (len(piece) - len(piece.rstrip()))
