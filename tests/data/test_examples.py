"""Examples: every shape people keep them in, and every mistake told with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sartor.data.collect import collect
from sartor.data.files import read_rows, write_rows
from sartor.data.records import Example, Message
from sartor.errors import DataError


def read(folder: Path, *rows: Any, name: str = "examples.jsonl") -> tuple[Example, ...]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return collect(folder, [], [name]).examples


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"input": "q", "output": "a"}, ["q"]),
        ({"question": "q", "answer": "a"}, ["q"]),
        ({"prompt": "q", "completion": "a"}, ["q"]),
        ({"instruction": "Translate.", "input": "chat", "output": "a"}, ["Translate.\n\nchat"]),
        ({"instruction": "q", "input": "", "response": "a"}, ["q"]),
        ({"context": "c", "question": "q", "answer": "a"}, ["c\n\nq"]),
        ({"system": "s", "input": "q", "output": "a"}, ["s", "q"]),
        (
            {
                "messages": [
                    {"role": "user", "content": "q1"},
                    {"role": "assistant", "content": "a1"},
                    {"role": "user", "content": "q2"},
                    {"role": "assistant", "content": "a"},
                ]
            },
            ["q1", "a1", "q2"],
        ),
    ],
)
def test_questions_and_answers_are_read_in_every_usual_shape(
    tmp_path: Path, row: dict[str, Any], said: list[str]
) -> None:
    [example] = read(tmp_path, row)
    assert [message.content for message in example.input] == said
    assert example.targets == ("a",)
    assert example.id == "examples:1"
    assert example.source == "examples.jsonl:1"


def test_several_right_answers_are_targets(tmp_path: Path) -> None:
    squad = {"question": "q", "answers": {"text": ["a", "b"], "answer_start": [1, 2]}}
    listed = {"input": "q2", "output": ["a", "b"]}
    further = {"input": "q3", "output": "a", "references": ["a", "b"]}
    assert [example.targets for example in read(tmp_path, squad, listed, further)] == [
        ("a", "b")
    ] * 3


def test_what_else_is_known_of_an_example_is_kept(tmp_path: Path) -> None:
    [example] = read(
        tmp_path,
        {
            "id": 7,
            "input": "q",
            "output": "a",
            "document_ids": ["d", 3],
            "group": "g",
            "label": "faq",
            "tags": ["x"],
            "answerable": False,
        },
    )
    assert example == Example(
        "7",
        (Message("user", "q"),),
        ("a",),
        "g",
        "examples.jsonl:1",
        ("d", "3"),
        False,
        ("faq", "x"),
    )


def test_csv_examples_are_read_by_their_header(tmp_path: Path) -> None:
    [first, second] = read(
        tmp_path,
        "Question,Answer,document_ids,answerable",
        '"Which, then?","Two\nlines",a; b,',
        "Who?,I don't know.,,no",
        name="faq.csv",
    )
    assert first.targets == ("Two\nlines",)
    assert first.evidence == ("a", "b")
    assert (second.answerable, second.source) == (False, "faq.csv:4")


def test_every_broken_line_is_told_of_at_once(tmp_path: Path) -> None:
    rows = [
        {"input": "q", "output": "a"},
        '{"input": "q"',
        {"input": "q", "output": ""},
        {"input": 5, "output": "a"},
    ]
    rows += [
        {"input": "q"},
        {"output": "a"},
        ["q"],
        {"messages": [{"role": "user", "content": "q"}]},
    ]
    with pytest.raises(DataError) as error:
        read(tmp_path, *rows)
    message = str(error.value)
    assert "7 of 8 lines" in message
    assert "examples.jsonl:2: is not JSON" in message
    assert "examples.jsonl:3: output: is empty" in message
    assert "examples.jsonl:4: input: is 5; expected text" in message
    assert "examples.jsonl:5: has no answer: expected one of output" in message
    assert "and 2 more" in message
    assert "Mend or delete" in message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"input": "q", "output": []}, "output: is an empty list"),
        ({"input": "q", "output": ["a", 3]}, r"output\[1\]: is 3"),
        (
            {"input": "q", "output": "a", "answerable": "maybe"},
            'answerable: is "maybe"; expected true or false',
        ),
        (
            {"messages": [{"role": "bot", "content": "q"}]},
            "turn 1 has no role of system, user, assistant",
        ),
        (
            {"messages": [{"role": "user", "content": "q"}]},
            "the last is the user's; expected the assistant's",
        ),
        ({"input": "q", "output": "a", "id": {"x": 1}}, "id: is"),
        ('"just text"', "is a JSON string"),
    ],
)
def test_a_bad_field_is_named_with_what_was_expected(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, row)


def test_an_id_used_twice_is_an_error_naming_both_lines(tmp_path: Path) -> None:
    row = {"id": "x", "input": "q", "output": "a"}
    with pytest.raises(
        DataError, match=r"'x' is used twice, in examples.jsonl:1 and examples.jsonl:2"
    ):
        read(tmp_path, row, row)


def test_a_file_without_examples_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"examples.jsonl holds no examples"):
        read(tmp_path, "", "")


def test_a_file_of_another_kind_is_no_examples_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"q\.txt has a suffix.*\.jsonl"):
        read(tmp_path, "q", name="q.txt")


def test_unicode_line_ends_do_not_end_a_row(tmp_path: Path) -> None:
    row = json.dumps({"input": "a\u2028b\x85c", "output": "x"}, ensure_ascii=False)
    [example] = read(tmp_path, row)
    assert example.input[0].content.startswith("a\nb")


def test_a_lone_surrogate_does_not_break_what_follows(tmp_path: Path) -> None:
    [example] = read(tmp_path, '{"input": "bad \\ud83d one", "output": "x"}')
    example.input[0].content.encode()


WORDS = st.text(min_size=1, max_size=40)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WORDS, WORDS), max_size=5))
def test_examples_come_back_from_disk_as_they_were(
    tmp_path: Path, texts: list[tuple[str, str]]
) -> None:
    examples = [Example(str(n), (Message("user", q),), (a,)) for n, (q, a) in enumerate(texts)]
    write_rows(tmp_path / "rows.jsonl", examples)
    assert read_rows(tmp_path / "rows.jsonl", Example) == examples


def test_a_folder_without_any_file_of_examples_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "readme.txt").write_text("none here")
    with pytest.raises(DataError, match=r"given/readme\.txt holds no examples"):
        collect(tmp_path, [], ["given"])
