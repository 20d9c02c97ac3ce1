"""XML: a catalogue where elements repeat with an id and fields, prose otherwise.

Knows no schema. In prose, an element with text of its own is a paragraph with all that is inside
it, an element without is a container; names that CNXML, DocBook, JATS and TEI share say what is a
heading, an item, a row. Entities are not resolved and nothing is fetched.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from sartor.data.catalogue import ID_FIELDS, Fields, Parsed, catalogue
from sartor.data.cleaning import clean, flat
from sartor.data.decoding import Unreadable, refuse_binary
from sartor.data.markup import CELLS, ITEMS, ROWS, Element, Paragraphs, children, name_of

_SKIPPED = frozenset({"metadata", "footnote", "fn", "media", "script", "style", "index", "glyph"})
_TITLES = frozenset({"title", "head", "heading", "headline", "subtitle"})
_PROSE = frozenset({"para", "p", "section", "sec", "chapter", "div", "figure", "exercise"})
_CODE = re.compile(r"[A-Z]{0,3}\d{3,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST_FIELD = 100  # characters; a longer text reads as a paragraph of its own


def xml_text(data: bytes) -> list[Parsed]:
    """The records of a catalogue, or one document of prose."""
    root = _parsed(data)
    records = _records(root)
    if records:
        return catalogue([_fields(record) for record in records])
    paragraphs = Paragraphs(hard_wrapped=True)
    _walk(root, paragraphs, depth=0)
    return [Parsed(clean(paragraphs.text()), _title(root))]


def _parsed(data: bytes) -> Element:
    from lxml import etree

    refuse_binary(data)
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(data.lstrip(), parser)
    except etree.XMLSyntaxError as error:
        raise Unreadable(f"is not well-formed XML ({error.msg})") from error
    except ValueError as error:
        raise Unreadable(f"is not XML ({error})") from error


def _records(root: Element) -> Sequence[Element]:
    """The repeated elements of a catalogue: alike, told apart by an id, made of fields."""
    for parent in (root, *children(root)):
        kinds = Counter(name_of(child) for child in children(parent))
        for kind, count in kinds.items():
            if count < 2 or count * 2 <= len(parent):
                continue
            alike = [child for child in children(parent) if name_of(child) == kind]
            if all(map(_is_record, alike)):
                return alike
    return ()


def _is_record(element: Element) -> bool:
    names = [name_of(child) for child in children(element)]
    return (
        bool(_id_of(element))
        and len(set(names)) >= 2
        and not any(name_of(below) in _PROSE for below in element.iter())
        and not flat(element.text or "")
        and not any(flat(child.tail or "") for child in element)
    )


def _id_of(element: Element) -> str:
    for name, value in element.attrib.items():
        if name.rpartition("}")[2].lower() in ID_FIELDS and value.strip():
            return str(value)
    fields = (child for child in children(element) if name_of(child) in ID_FIELDS)
    return next((flat(child.text or "") for child in fields), "")


def _fields(element: Element, name: str = "") -> Fields:
    """Attributes and leaves, in order; a leaf below a leaf is named by both."""
    fields = [
        (f"{name} {key.rpartition('}')[2]}".strip(), str(value))
        for key, value in element.attrib.items()
    ]
    for child in children(element):
        label = f"{name} {_spelled(child)}".strip()
        if any(True for _ in children(child)) and not flat(child.text or ""):
            fields += _fields(child, label)
        else:
            fields.append((label, flat("".join(child.itertext()))))
    return _joined(fields)


def _joined(fields: Fields) -> Fields:
    """Repeated fields in one, in the place of the first."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    return [(name, ", ".join(filter(None, several))) for name, several in values.items()]


def _walk(element: Element, out: Paragraphs, depth: int) -> None:
    name = name_of(element)
    if name in _SKIPPED or not name:
        return
    if name in ROWS:
        out.row([flat("".join(cell.itertext())) for cell in children(element)])
    elif name in _TITLES:
        _heading(element, out, depth)
    elif name == "math":
        out.open(_formula(element))
        out.close()
    elif _runs(element):
        _paragraph(element, out, "- " if name in ITEMS else "")
    elif not len(element):
        _leaf(element, name, out)
    else:
        for child in element:
            _walk(child, out, depth + 1)


def _runs(element: Element) -> bool:
    """Whether text runs through it, between its children."""
    own = len(element) and flat(element.text or "")
    return bool(own or any(flat(child.tail or "") for child in element))


def _heading(element: Element, out: Paragraphs, depth: int) -> None:
    out.close()
    text = flat("".join(element.itertext()))
    if text:
        out.done.append(f"{'#' * min(max(depth, 1), 6)} {text}")


def _paragraph(element: Element, out: Paragraphs, prefix: str) -> None:
    out.close(prefix)
    _inline(element, out)
    out.close()


def _inline(element: Element, out: Paragraphs) -> None:
    out.open(element.text)
    for child in element:
        name = name_of(child)
        if name in ITEMS:
            out.close("- ")
            _inline(child, out)
            out.close()
        elif name in ROWS:
            out.row([flat("".join(cell.itertext())) for cell in children(child)])
        elif name == "math":
            out.open(_formula(child))
        elif name and name not in _SKIPPED and name not in CELLS:
            _inline(child, out)
        out.open(child.tail)


def _formula(element: Element) -> str:
    """MathML on one line, its parts apart."""
    return f" {' '.join(flat(part) for part in element.itertext() if part.strip())} "


def _leaf(element: Element, name: str, out: Paragraphs) -> None:
    text = (element.text or "").strip()
    is_field = (
        len(text) <= _LONGEST_FIELD
        and name not in _PROSE | ITEMS | {"caption"}
        and not text.endswith(".")
    )
    if not text or (is_field and _CODE.fullmatch(text)):
        return
    out.close("- " if name in ITEMS else "")
    out.open(f"{_spelled(element)}: {flat(text)}" if is_field else text)
    out.close()


def _title(root: Element) -> str:
    for element in root.iter():
        if name_of(element) in _TITLES | {"name"}:
            return flat("".join(element.itertext()))[:200]
    first = next(children(root), None)
    text = flat(first.text or "") if first is not None and not len(first) else ""
    return text if len(text) <= _LONGEST_FIELD else ""


def _spelled(element: Element) -> str:
    """Its name as written, without namespace."""
    return str(element.tag).rpartition("}")[2]
