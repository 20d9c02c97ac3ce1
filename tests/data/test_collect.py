"""Collecting: files, folders and globs of every format become documents with a source."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sartor.data.catalogue import is_record
from sartor.data.collect import Collected, collect
from sartor.data.records import Document
from sartor.errors import DataError


def write(root: Path, name: str, content: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read_one(root: Path, name: str, content: str | bytes) -> Document:
    write(root, name, content)
    [document] = collect(root, [name], []).documents
    return document


def by_id(collected: Collected) -> dict[str, Document]:
    return {document.id: document for document in collected.documents}


def test_a_document_knows_its_name_source_title_time_and_digest(tmp_path: Path) -> None:
    path = write(tmp_path, "docs/handbook.md", "# Handbook\n\nNotice is three months.\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    [document] = collect(tmp_path, ["docs"], []).documents
    assert (document.id, document.source, document.title) == (
        "handbook",
        "docs/handbook.md",
        "Handbook",
    )
    assert document.collected_at == "2023-11-14T22:13:20+00:00"
    assert len(document.digest) == 64
    assert collect(tmp_path, ["docs"], []).documents == (document,)


def test_markdown_loses_front_matter_shortcodes_and_tags_but_keeps_structure(
    tmp_path: Path,
) -> None:
    text = """---
title: "Leave &amp; holidays"
links:
  - title: not this one
---

Intro {{< youtube abc >}}with <b>tags</b> and [a link](https://x.example/a_(b)).
{% include x %}
## Days

- **Paid**: 30
- Unpaid: 5

| year | days |
|---|---|
| 2024 | 30 |

```html
<div>{{ kept }}</div>
```
A 5 < 7 and `<b>` and <year> stay.
"""
    document = read_one(tmp_path, "leave.md", text)
    assert document.title == "Leave & holidays"
    assert document.text.startswith("Intro with tags and a link.")
    assert "## Days\n\n- Paid: 30\n- Unpaid: 5" in document.text
    assert "| 2024 | 30 |" in document.text
    assert "<div>{{ kept }}</div>" in document.text
    assert document.text.endswith("A 5 < 7 and `<b>` and <year> stay.")


def test_a_rule_at_the_top_of_markdown_is_not_front_matter(tmp_path: Path) -> None:
    document = read_one(tmp_path, "a.md", "---\n\nFirst words of prose.\n\n---\n\nMore.\n")
    assert "First words of prose." in document.text


def test_html_loses_its_furniture_and_keeps_headings_lists_and_tables(tmp_path: Path) -> None:
    page = """<html><head><title>Returns - Shop</title><script>x()</script></head><body>
    <nav><a href=/>Home</a></nav><div class="cookie-banner">We use cookies</div>
    <main><h1>Returns</h1><p>Send it
    back <b>soon</b>.<br>Really.</p><ul><li>in 30 days</li><li>unused</li></ul>
    <table><tr><th>who</th><th>days</th></tr><tr><td>Gold</td><td>60</td></tr></table></main>
    <footer>(c) Shop</footer></body></html>"""
    document = read_one(tmp_path, "returns.html", page)
    assert document.title == "Returns"
    assert document.text == (
        "# Returns\n\nSend it back soon.\nReally.\n\n- in 30 days\n- unused\n\n"
        "| who | days |\n| Gold | 60 |"
    )


def test_html_in_another_encoding_is_read_as_it_declares(tmp_path: Path) -> None:
    page = '<meta charset="iso-8859-2"><p>Łódź</p>'.encode("iso-8859-2")
    assert read_one(tmp_path, "a.html", page).text == "Łódź"


def test_xml_prose_is_one_document_with_paragraphs_items_and_title(tmp_path: Path) -> None:
    document = read_one(
        tmp_path,
        "m1.xml",
        """<?xml version="1.0"?><document xmlns="http://cnx.rice.edu/cnxml"><title>Cells</title>
        <metadata><id>m1</id></metadata><content><para id="p1">Cells
          are <term>small</term> units.<footnote id="f">no</footnote></para>
        <section id="s"><title>Kinds</title><para id="p2">Two:</para>
        <list id="l"><item>plant</item><item>animal</item></list></section></content></document>""",
    )
    assert document.id == "m1"
    assert document.title == "Cells"
    assert document.text == (
        "# Cells\n\nCells are small units.\n\n### Kinds\n\nTwo:\n\n- plant\n- animal"
    )


def test_xml_text_keeps_its_paragraphs_and_bullets(tmp_path: Path) -> None:
    document = read_one(
        tmp_path,
        "q.xml",
        "<Document id='1'><Focus>Flu</Focus><QAPairs><QAPair pid='1'><Answer>Key Points\n"
        "      - One thing.    - Another.\n   \n   Then a paragraph\n  goes on."
        "</Answer></QAPair></QAPairs></Document>",
    )
    assert document.title == "Flu"
    assert document.text.endswith(
        "Key Points\n- One thing.\n- Another.\n\nThen a paragraph goes on."
    )


def test_xml_entities_are_neither_resolved_nor_expanded(tmp_path: Path) -> None:
    write(tmp_path, "secret.txt", "the secret")
    document = read_one(
        tmp_path,
        "evil.xml",
        '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">'
        f'<!ENTITY f SYSTEM "file://{tmp_path}/secret.txt">]>'
        "<d><p>x &b; y &f; z. It goes on for a while so that it reads as prose.</p></d>",
    )
    assert "secret" not in document.text
    assert "haha" not in document.text


CSV = """id,name,price,notes
6579c22f-be2b-444c-a52b-0116dd82df6c,Red Tent,12.50,
7,Blue Tent,9,"dry,
warm"
"""
JSONL = """{"sku": "A-1", "name": "Red Tent", "size": {"width": 2}, "colours": ["red", "pink"]}
{"sku": "A-2", "name": "Blue Tent"}
"""
XML = """<shop><product id="a1"><name>Red Tent</name><price>12.50</price></product>
<product id="a2"><name>Blue &amp; Tent</name><price>9</price></product></shop>"""
HTML = """<body><nav>Home</nav>
<div class="product" id="a1"><h2>Red Tent</h2><p class="price">$12.50</p>
<p class="style">Style: camping</p><p>Keeps you dry.</p><button>Buy</button></div>
<div class="product" id="a2"><h2>Blue Tent</h2><p class="price">$9</p></div></body>"""


def test_a_csv_row_is_a_document_named_by_its_id(tmp_path: Path) -> None:
    write(tmp_path, "shop.csv", CSV)
    documents = by_id(collect(tmp_path, ["shop.csv"], []))
    red = documents["6579c22f-be2b-444c-a52b-0116dd82df6c"]
    assert red.text == "name: Red Tent\nprice: 12.50"
    assert red.title == "Red Tent"
    assert red.source == f"shop.csv#{red.id}"
    assert is_record(red)
    assert documents["7"].text == "name: Blue Tent\nprice: 9\nnotes: dry,\nwarm"


def test_a_jsonl_row_is_a_document_with_nested_fields_named(tmp_path: Path) -> None:
    write(tmp_path, "shop.jsonl", JSONL)
    documents = by_id(collect(tmp_path, ["shop.jsonl"], []))
    assert documents["A-1"].text == "name: Red Tent\nsku: A-1\nsize width: 2\ncolours: red, pink"


def test_repeated_xml_and_html_elements_with_ids_are_documents(tmp_path: Path) -> None:
    write(tmp_path, "x/shop.xml", XML)
    write(tmp_path, "h/shop.html", HTML)
    in_xml = by_id(collect(tmp_path, ["x"], []))
    in_html = by_id(collect(tmp_path, ["h"], []))
    assert in_xml["a2"].text == "name: Blue & Tent\nprice: 9"
    assert in_html["a1"].text == "name: Red Tent\nprice: $12.50\nStyle: camping\nKeeps you dry."
    assert in_html["a1"].title == "Red Tent"


def test_sections_with_ids_are_prose_and_no_catalogue(tmp_path: Path) -> None:
    page = "".join(
        f'<section id="s{n}" class="level2"><h2>Part {n}</h2><p>{"Words. " * 30}</p></section>'
        for n in range(3)
    )
    assert read_one(tmp_path, "guide.html", f"<body>{page}</body>").id == "guide"


def test_rows_without_an_id_are_numbered_and_repeated_ids_told_apart(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "name,price\nTent,1\nRope,2\n")
    assert list(by_id(collect(tmp_path, ["a.csv"], []))) == ["a-1", "a-2"]
    write(tmp_path, "b.csv", "id,name\n5,Tent\n5,Rope\n6,Axe\n")
    assert list(by_id(collect(tmp_path, ["b.csv"], []))) == ["5", "5-2", "6"]


def test_a_very_long_field_is_read(tmp_path: Path) -> None:
    assert len(read_one(tmp_path, "a.csv", f"id,text\n1,{'word ' * 50_000}\n").text) > 200_000


def test_two_files_of_one_name_are_known_by_their_paths(tmp_path: Path) -> None:
    write(tmp_path, "docs/a/readme.md", "One text.")
    write(tmp_path, "docs/b/readme.md", "Another text.")
    collected = collect(tmp_path, ["docs"], [])
    assert set(by_id(collected)) == {"a/readme.md", "b/readme.md"}
    assert "readme" in collected.notes[0]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
        ("café".encode("utf-16"), "café"),
        ("cafÃ© au lait".encode(), "café au lait"),
        ("cafe\u0301\r\nau lait".encode(), "café\nau lait"),
    ],
)
def test_text_is_decoded_and_mended(tmp_path: Path, content: bytes, text: str) -> None:
    assert read_one(tmp_path, "a.txt", content).text == text


def test_windows_1252_is_read_and_said(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", b"caf\xe9 \x96 open")
    collected = collect(tmp_path, ["a.txt"], [])
    assert collected.documents[0].text == "café \u2013 open"
    assert collected.notes == ("a.txt is not UTF-8; read as Windows-1252 (cp1252)",)


def test_unreadable_files_in_a_folder_are_recorded_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, "docs/good.md", "Text.")
    write(tmp_path, "docs/photo.png", b"\x89PNG\0")
    write(tmp_path, "docs/binary.txt", b"a\0b")
    write(tmp_path, "docs/broken.xml", "<a><b></a>")
    write(tmp_path, "docs/empty.md", "  \n")
    write(tmp_path, "docs/rows.jsonl", '{"id": "r1", "text": "x"}\nnot json\n')
    write(tmp_path, "docs/.hidden/x.md", "no")
    collected = collect(tmp_path, ["docs"], [])
    reasons = {drop.source: drop.reason for drop in collected.dropped}
    assert set(by_id(collected)) == {"good", "r1"}
    assert "suffix" in reasons["docs/photo.png"]
    assert "NUL" in reasons["docs/binary.txt"]
    assert "well-formed" in reasons["docs/broken.xml"]
    assert reasons["docs/empty.md"] == "is empty"
    assert "not JSON" in reasons["docs/rows.jsonl:2"]


def test_an_unreadable_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "scan.txt", b"a\0b")
    with pytest.raises(DataError, match=r"scan\.txt is binary .* Convert it"):
        collect(tmp_path, ["scan.txt"], [])


def test_a_folder_in_which_nothing_can_be_read_is_an_error_naming_files(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.pdf", b"%PDF\0")
    write(tmp_path, "docs/b.txt", b"\0")
    with pytest.raises(DataError, match=r"docs/a\.pdf has a suffix.*docs/b\.txt is binary"):
        collect(tmp_path, ["docs"], [])


def test_a_missing_entry_suggests_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, "documents/a.md", "Text.")
    with pytest.raises(DataError, match=r"does not exist\. Did you mean documents\? Paths"):
        collect(tmp_path, ["docments"], [])


def test_globs_and_absolute_paths_name_files_too(tmp_path: Path) -> None:
    write(tmp_path, "docs/a/x.md", "One.")
    write(tmp_path, "docs/y.txt", "Two.")
    assert set(by_id(collect(tmp_path, ["docs/**/*.md"], []))) == {"x"}
    [document] = collect(tmp_path, [str(tmp_path / "docs" / "y.txt")], []).documents
    assert document.source == str(tmp_path / "docs" / "y.txt")
    with pytest.raises(DataError, match="does not exist"):
        collect(tmp_path, ["docs/*.xml"], [])


def test_a_file_of_examples_is_never_a_document(tmp_path: Path) -> None:
    write(tmp_path, "data/a.md", "Text.")
    write(tmp_path, "data/examples.jsonl", '{"input": "q", "output": "a"}\n')
    collected = collect(tmp_path, ["data"], ["data/examples.jsonl"])
    assert set(by_id(collected)) == {"a"}
    assert len(collected.examples) == 1
    assert "give the answers away" in collected.dropped[0].reason
