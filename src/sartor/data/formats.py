"""Which file is read how, by suffix. A new format is a file with a reader and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sartor.data.catalogue import Parsed
from sartor.data.decoding import Unreadable, decode
from sartor.data.hypertext import declared_charset, hypertext
from sartor.data.markdown import markdown
from sartor.data.plain_text import plain_text
from sartor.data.tables import BrokenRow, csv_records, jsonl_records
from sartor.data.xml_text import xml_text


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file held: one document of prose, or records."""

    parsed: tuple[Parsed, ...]
    broken: tuple[BrokenRow, ...] = ()
    note: str = ""
    """What had to be guessed to read it."""


def _markdown(data: bytes) -> Contents:
    decoded = decode(data)
    return Contents((markdown(decoded.text),), note=decoded.note)


def _plain_text(data: bytes) -> Contents:
    decoded = decode(data)
    return Contents((plain_text(decoded.text),), note=decoded.note)


def _hypertext(data: bytes) -> Contents:
    decoded = decode(data, declared_charset(data))
    return Contents(tuple(hypertext(decoded.text)), note=decoded.note)


def _xml(data: bytes) -> Contents:
    return Contents(tuple(xml_text(data)))


def _csv(data: bytes) -> Contents:
    decoded = decode(data)
    records, broken = csv_records(decoded.text)
    return Contents(tuple(records), tuple(broken), decoded.note)


def _jsonl(data: bytes) -> Contents:
    decoded = decode(data)
    records, broken = jsonl_records(decoded.text)
    return Contents(tuple(records), tuple(broken), decoded.note)


READERS: dict[str, Callable[[bytes], Contents]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _plain_text,
    ".text": _plain_text,
    ".html": _hypertext,
    ".htm": _hypertext,
    ".xhtml": _hypertext,
    ".xml": _xml,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
}

CONVERTERS = {
    ".pdf": "pdftotext FILE.pdf (of Poppler)",
    ".docx": "pandoc FILE.docx -o FILE.md",
    ".odt": "pandoc FILE.odt -o FILE.md",
    ".epub": "pandoc FILE.epub -o FILE.md",
    ".rtf": "pandoc FILE.rtf -o FILE.md",
    ".doc": "soffice --headless --convert-to html FILE.doc",
    ".pptx": "soffice --headless --convert-to pdf FILE.pptx, then pdftotext FILE.pdf",
    ".xlsx": "soffice --headless --convert-to csv FILE.xlsx (its first sheet)",
    ".xls": "soffice --headless --convert-to csv FILE.xls (its first sheet)",
}
"""What makes text of what people have; sartor reads no layout, and would guess at it."""


def read(path: Path) -> Contents:
    """What the file holds; Unreadable, with the reason, where that is nothing."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        readable = " ".join(sorted(READERS))
        way = CONVERTERS.get(path.suffix.lower(), "")
        raise Unreadable(
            f"has a suffix that sartor cannot read ({path.suffix or 'none'}); it reads {readable}"
            + (f". To make text of it: {way}" if way else "")
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be opened ({error.strerror})") from error
    if not data.strip():
        raise Unreadable("is empty")
    contents = reader(data)
    if not any(parsed.text for parsed in contents.parsed):
        raise Unreadable("holds no text")
    return contents
