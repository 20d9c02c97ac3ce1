"""Files that are broken or made to break: each is an error that says where, or is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sartor.data.cleaning import clean, reflowed
from sartor.data.collect import collect
from sartor.data.files import write_text
from sartor.data.markdown import markdown
from sartor.data.prepare import Preparation, prepare
from sartor.data.prepared_files import load, save
from sartor.data.privacy import count_personal_data
from sartor.data.sources import fingerprint
from sartor.data.tables import csv_records
from sartor.data.xml_text import xml_text
from sartor.errors import DataError

GOOD = '{"input": "q", "output": "a"}\n'


def write(root: Path, name: str, content: str | bytes) -> str:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def table(header: str, broken: str, rows: int = 60, at: int = 49) -> str:
    lines = [f"e{n},How long is it {n}?,{n} cm" for n in range(1, rows + 1)]
    lines[at - 1] = broken
    return "\n".join([header, *lines]) + "\n"


UNCLOSED = 'e49,How long is it?,"12 inch'


@pytest.mark.parametrize("rest", ["", 'e61,"Why, then?","Be""cause"\n', 'e61,x,"a\nb"\n'])
def test_an_unclosed_quote_in_examples_is_told_with_the_line_it_opens_on(
    tmp_path: Path, rest: str
) -> None:
    write(tmp_path, "e.csv", table("id,question,answer", UNCLOSED) + rest)
    with pytest.raises(DataError, match=r"(?s)e\.csv:50: opens a quote that is never closed"):
        collect(tmp_path, [], ["e.csv"])


@pytest.mark.parametrize("entry", ["docs", "docs/shop.csv"])
def test_an_unclosed_quote_in_a_catalogue_is_an_error_even_in_a_folder(
    tmp_path: Path, entry: str
) -> None:
    write(tmp_path, "docs/a.md", "Text.")
    write(tmp_path, "docs/shop.csv", table("id,name,size", 'e49,"Red\nTent","12 inch'))
    with pytest.raises(DataError, match=r"shop\.csv is broken at line 51, which opens a quote"):
        collect(tmp_path, [entry], [])


def test_a_quote_closed_inside_its_field_breaks_its_own_row_only(tmp_path: Path) -> None:
    write(tmp_path, "shop.csv", table("id,name,size", 'e49,"12" inch tent",x'))
    collected = collect(tmp_path, ["shop.csv"], [])
    assert len(collected.documents) == 59
    assert [drop.source for drop in collected.dropped] == ["shop.csv:50"]


def test_quoted_line_ends_and_doubled_quotes_are_no_broken_quotes() -> None:
    records, broken = csv_records('id,name\n1,"a\n""b"",\n\nc"\n2,5" pipe\n3,""\n')
    assert not broken
    assert [record.text for record in records] == ['name: a\n"b",\n\nc', 'name: 5" pipe', ""]


def test_examples_that_are_not_utf_8_are_read_with_a_note_in_the_warnings(tmp_path: Path) -> None:
    rows = "".join(f'{{"input": "Where is {n * 7919}?", "output": "a{n}"}}\n' for n in range(200))
    write(tmp_path, "e.jsonl", rows.encode().replace(b'a7"', b'caf\xe9"'))
    collected = collect(tmp_path, [], ["e.jsonl"])
    note = "e.jsonl is not UTF-8; read as Windows-1252 (cp1252)"
    assert collected.examples[7].targets == ("café",)
    assert collected.notes == (note,)
    assert note in prepare(collected, Preparation()).warnings


HUGE = "9" * 5000
DEEP = "[" * 700 + "]" * 700


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f'{{"input": "x", "output": "y", "size": {HUGE}}}', "e.jsonl:2: holds a number of more"),
        (json.dumps({"input": "x", "answers": f"[{HUGE}]"}), "e.jsonl:2: answers: holds a number"),
        (f'{{"input": {DEEP}, "output": "y"}}', "e.jsonl:2: is nested too deeply"),
        (json.dumps({"input": "x", "answers": DEEP}), "e.jsonl:2: answers: is nested too deeply"),
    ],
)
def test_examples_of_monstrous_json_are_broken_lines(
    tmp_path: Path, line: str, reason: str
) -> None:
    write(tmp_path, "e.jsonl", GOOD + line)
    with pytest.raises(DataError, match=reason):
        collect(tmp_path, [], ["e.jsonl"])


def test_an_answer_of_monstrous_json_in_csv_is_a_broken_line(tmp_path: Path) -> None:
    write(tmp_path, "e.csv", f"input,answers\nx,y\nz,[{HUGE}]\n")
    with pytest.raises(DataError, match=r"e\.csv:3: answers: holds a number"):
        collect(tmp_path, [], ["e.csv"])


@pytest.mark.parametrize("depth", [101, 300, 480, 960, 100_000])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
def test_documents_nested_too_deeply_are_left_out_with_the_line(
    tmp_path: Path, depth: int, left: str, right: str
) -> None:
    deep = '{"a": ' + left * depth + "1" + right * depth + "}"
    fine = '{"a": ' + left * 99 + "1" + right * 99 + "}"
    write(tmp_path, "rows.jsonl", f'{fine}\n{deep}\n{{"a": {HUGE}}}\n')
    collected = collect(tmp_path, ["rows.jsonl"], [])
    assert len(collected.documents) == 1
    assert [drop.source for drop in collected.dropped] == ["rows.jsonl:2", "rows.jsonl:3"]
    assert "nested too deeply" in collected.dropped[0].reason
    assert "number of more than" in collected.dropped[1].reason


@pytest.mark.parametrize("charset", ["undefined", "utf-16", "utf-32", "hex", "idna", "nonsense"])
@pytest.mark.parametrize("padding", [b"", b" "])
def test_html_that_lies_about_its_encoding_is_read_and_said(
    tmp_path: Path, charset: str, padding: bytes
) -> None:
    page = f"<meta charset={charset}><p>caf".encode() + b"\xe9</p>" + padding
    write(tmp_path, "a.html", page)
    collected = collect(tmp_path, ["a.html"], [])
    assert collected.documents[0].text == "café"
    assert collected.notes == (
        f"a.html is not UTF-8 nor, as it declares, {charset}; read as Windows-1252 (cp1252)",
    )


def misnamed(folder: Path, name: bytes, content: str) -> None:
    folder.mkdir(exist_ok=True)
    try:
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_text(content, "utf-8")
    except OSError:
        pytest.skip("this file system takes names of UTF-8 only")


def test_a_file_whose_name_is_not_utf_8_is_left_out_by_a_name_one_can_print(
    tmp_path: Path,
) -> None:
    write(tmp_path, "documents/a.md", "Text.")
    misnamed(tmp_path / "documents", b"bad\xff.md", "More text.")
    [drop] = collect(tmp_path, ["documents"], []).dropped
    assert (drop.id, drop.source) == (r"bad\xff", r"documents/bad\xff.md")
    assert drop.reason == "has a name that is not UTF-8; rename it"
    assert fingerprint(tmp_path, ["documents"], []) == fingerprint(tmp_path, ["documents"], [])


def test_examples_in_a_file_whose_name_is_not_utf_8_are_an_error(tmp_path: Path) -> None:
    misnamed(tmp_path / "e", b"bad\xff.jsonl", GOOD)
    with pytest.raises(DataError, match=r"e/bad\\xff\.jsonl has a name that is not UTF-8"):
        collect(tmp_path, [], ["e"])
    with pytest.raises(DataError, match=r"examples: e/bad\\xff\.jsonl has a name .* Rename it"):
        collect(tmp_path, [], [os.fsdecode(b"e/bad\xff.jsonl")])


def test_text_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text("utf-8") == "old"


def test_a_folder_that_cannot_be_made_is_an_error_of_the_user(tmp_path: Path) -> None:
    write(tmp_path, "a", "a file")
    with pytest.raises(DataError, match="cannot write"):
        write_text(tmp_path / "a" / "b.txt", "text")


@pytest.mark.parametrize("garbage", [b"\xff\xfe\x00", b'{"dropped": 5}', b"[" * 5000])
def test_a_broken_record_of_preparation_is_told_in_one_line(tmp_path: Path, garbage: bytes) -> None:
    rows = "".join(f'{{"input": "Where is {n * 7919}?", "output": "a{n}"}}\n' for n in range(200))
    write(tmp_path, "e.jsonl", rows)
    save(prepare(collect(tmp_path, [], ["e.jsonl"]), Preparation()), tmp_path / "prepared")
    assert load(tmp_path / "prepared").counts["examples"] == 200
    write(tmp_path, "prepared/prepared.json", garbage)
    with pytest.raises(DataError, match=r"prepared\.json: not a .* delete it") as error:
        load(tmp_path / "prepared")
    assert "\n" not in str(error.value)
    assert "pydantic" not in str(error.value)
    (tmp_path / "prepared" / "prepared.json").unlink()
    with pytest.raises(DataError, match=r"No such file.*prepared\.json.*Delete the folder"):
        load(tmp_path / "prepared")


def test_a_definition_of_a_link_goes_and_what_follows_it_stays() -> None:
    text = "Before [it][1].\n\n[1]: https://x.example/ 'title'\n[2]: y\n\nAfter."
    assert markdown(text).text == "Before it.\n\nAfter."


def test_character_references_without_end_are_read() -> None:
    assert markdown(f"a &#{HUGE}; &#{'0' * 5000}65; &#66;").text == "a \ufffd A B"
    assert markdown("a &#xe0ff;5&#xe0ff; b").text == "a  b"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```\n<b>\n```\n<i>x</i>", "```\n<b>\n```\nx"),
        ("````\n```\n<b>\n````\n<i>x", "````\n```\n<b>\n````\nx"),
        ("````\n<b>\n```\n<i>x", "````\n<b>\n```\nx"),
        ("~~~\n```\n<b>\n~~~\n<i>x", "~~~\n```\n<b>\n~~~\nx"),
        ("```\n<b>x", "```\nx"),
        ("`<b>` ``<b>`<b>`` <b>x", "`<b>` ``<b>`<b>`` x"),
        ("`` <b>x `<b>`", "`` x `<b>`"),
    ],
)
def test_code_keeps_its_characters_and_what_is_not_closed_is_no_code(text: str, code: str) -> None:
    assert markdown(text).text == code


SLOW = 200_000  # characters; each of these took from ten seconds to an hour


@pytest.mark.parametrize(
    "unit",
    [
        *("<!--", "`", "``a ", "`\n", "~", "~~~\n", "<script>", "<style ", "<h1>", "<h2> ", "<p "),
        *("{{<", "{{", "{%", "{.", "{: .", "**a ", "__a ", "[", "[a](", "# a#", "\n#", "- ", "&#"),
    ],
)
def test_markdown_of_one_mark_over_and_over_is_read(unit: str) -> None:
    text = f"x\n{unit * (SLOW // len(unit))}\nlast words"
    assert markdown(text).text.endswith("last words")


@pytest.mark.parametrize("read", [markdown, lambda text: clean(text)])
@pytest.mark.parametrize("space", [" ", "\t", "\u00a0"])
def test_a_long_gap_is_read(read: Callable[[str], object], space: str) -> None:
    gap = space * SLOW
    assert "| b" in str(read(f"a{gap}b\n{'|' * 1000}{gap}\n| b")).replace("\\t", "\t")
    assert reflowed(f"a{gap}b{gap}\n c") == "a b\nc"


def test_a_heading_of_marks_and_a_fence_of_marks_are_read() -> None:
    assert markdown(f"# a{'#' * SLOW}b").title.startswith("a#")
    assert markdown(f"{'`' * SLOW}\n{'a' * SLOW}").text.endswith("a")


def test_accents_without_end_are_cut() -> None:
    text = clean("a" + "\u0315\u0300" * SLOW + "b")
    assert len(text) < 40
    assert text.endswith("b")


def test_xml_of_very_many_kinds_of_elements_is_read() -> None:
    kinds = "".join(f"<k{n}>word {n} of many words.</k{n}>" for n in range(12_000))
    [parsed] = xml_text(f"<d>{kinds}</d>".encode())
    assert parsed.text.endswith("word 11999 of many words.")


def test_one_id_in_very_many_rows_is_told_apart() -> None:
    rows = "".join(f"{n if n % 2 else 'x'},name {n}\n" for n in range(40_001))
    records, _ = csv_records(f"id,name\n{rows}y,z\n")
    assert len({record.key for record in records}) == 40_002


def test_very_many_numbers_of_cards_and_phones_are_counted() -> None:
    text = "4111 1111 1111 1111; 800-827-1000; " * 8000
    assert count_personal_data([text]) == {"card number": 8000, "phone number": 8000}


def test_what_office_programs_write_is_left_out_with_a_way_to_make_text_of_it(
    tmp_path: Path,
) -> None:
    write(tmp_path, "docs/ok.txt", "some text")
    write(tmp_path, "docs/Terms.PDF", "%PDF-1.4")
    write(tmp_path, "docs/letter.docx", b"PK\x03\x04")
    examples = write(tmp_path, "e.jsonl", GOOD)
    found = collect(tmp_path, ("docs",), (examples,))
    reasons = {dropped.id: dropped.reason for dropped in found.dropped}
    assert "pdftotext FILE.pdf" in reasons["Terms"]
    assert "pandoc FILE.docx" in reasons["letter"]
