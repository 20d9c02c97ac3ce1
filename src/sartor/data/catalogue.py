"""Catalogue files: one record, one document.

A record's text is what a person would read on its card: a "field: value" line for each field, the
name first. Opaque ids (UUIDs and the like) say nothing to a reader and stay out of the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sartor.data.cleaning import clean, flat
from sartor.data.records import Document

ID_FIELDS = (
    "id",
    "_id",
    "uuid",
    "guid",
    "doc_id",
    "document_id",
    "product_id",
    "item_id",
    "item_number",
    "article_number",
    "sku",
    "asin",
    "ean",
    "key",
)
_INTERNAL = ("id", "_id", "uuid", "guid", "doc_id", "document_id", "key")  # no reader asks for them
_NAME_FIELDS = ("name", "title", "product_name", "item_name", "headline", "label", "question")
_BODY_FIELDS = ("text", "content", "body", "page_content")
_OPAQUE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}", re.IGNORECASE)
_RECORD_SOURCE = re.compile(r"\.(csv|tsv|jsonl|ndjson|xml|x?html?)#.", re.IGNORECASE)

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reader made of a file, or of one record in it."""

    text: str
    title: str = ""
    key: str = ""
    """A record's own id, unique in its file; empty for prose and for records without one."""
    row: int = 0
    """A record's place in its file, counted from 1; 0 for a document of prose."""


def catalogue(records: Sequence[Fields]) -> list[Parsed]:
    """One `Parsed` a record, from its fields in order."""
    id_field = _id_field(records)
    taken: dict[str, int] = {}
    parsed = []
    for row, fields in enumerate(records, 1):
        key = next((flat(clean(value)) for name, value in fields if name == id_field), "")
        title, text = _card(fields)
        parsed.append(Parsed(text, title, _unused(key, taken) if key else "", row))
    return parsed


def is_record(document: Document) -> bool:
    """Whether it is one record of a catalogue file rather than a file of prose."""
    return bool(_RECORD_SOURCE.search(document.source))


def flattened(value: Any, name: str = "") -> list[tuple[str, str]]:
    """The fields of a JSON value: "size width" for what is nested, lists of plain values joined."""
    if isinstance(value, dict):
        return [
            field
            for key, inner in value.items()
            for field in flattened(inner, f"{name} {key}".strip())
        ]
    if isinstance(value, list):
        if any(isinstance(inner, dict | list) for inner in value):
            return [field for inner in value for field in flattened(inner, name)]
        return [(name, ", ".join(plain(inner) for inner in value if inner not in (None, "")))]
    return [(name, plain(value))]


def plain(value: Any) -> str:
    """A JSON scalar as a person writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _card(fields: Fields) -> tuple[str, str]:
    """The title and text of a record."""
    filled = [(name, clean(value)) for name, value in fields if value.strip()]
    shown = [
        (name, value)
        for name, value in filled
        if not (
            name.lower() in ID_FIELDS and (_OPAQUE.fullmatch(value) or name.lower() in _INTERNAL)
        )
    ]
    named = next(
        (field for field in _NAME_FIELDS for name, _ in shown if name.lower() == field), ""
    )
    first = [(name, value) for name, value in shown if name.lower() == named][:1]
    rest = [field for field in shown if field not in first]
    title = flat(first[0][1])[:200] if first else ""
    return title, "\n".join(_line(*field) for field in first + rest).strip()


def _line(name: str, value: str) -> str:
    if name.lower() in _BODY_FIELDS:
        return f"\n{value}\n"
    if not name or value.lower().startswith(f"{name.lower()}:"):
        return value
    return f"{name.replace('_', ' ')}: {value}"


def _id_field(rows: Sequence[Fields]) -> str:
    """The first id field that is filled in every row and tells most rows apart."""
    for candidate in ID_FIELDS:
        values = [
            (name, flat(value))
            for fields in rows
            for name, value in fields
            if name.lower() == candidate and value.strip()
        ]
        if len(values) == len(rows) and len({value for _, value in values}) * 2 > len(rows):
            return values[0][0]
    return ""


def _unused(key: str, taken: dict[str, int]) -> str:
    """The key, or the first of key-2, key-3, ... that is free; `taken` has the last one tried."""
    unique, number = key, taken.get(key, 1)
    while unique in taken:
        number += 1
        unique = f"{key}-{number}"
    taken[key] = number
    taken.setdefault(unique, 1)
    return unique
