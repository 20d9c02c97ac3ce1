"""Preparing: duplicates, evidence, personal data, and the whole on real folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sartor.data.collect import Collected, collect
from sartor.data.leaks import leaks
from sartor.data.prepare import Preparation, Prepared, prepare
from sartor.data.records import Document, Example, Message
from sartor.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def example(n: int, text: str = "", target: str = "", evidence: tuple[str, ...] = ()) -> Example:
    question = Message("user", text or f"What is item {n} on the list?")
    return Example(
        f"e{n}", (question,), (target or f"thing {n}",), source=f"x:{n}", evidence=evidence
    )


def collected(*documents: Document, examples: list[Example] | None = None) -> Collected:
    return Collected(documents, tuple([example(n) for n in range(200)] + (examples or [])), ())


def everything(prepared: Prepared) -> dict[str, Example]:
    data = prepared.split.training
    return {one.id: one for one in (*data.train, *data.validation, *prepared.split.test)}


def test_exact_copies_of_documents_go_and_what_named_them_means_the_one_kept() -> None:
    prepared = prepare(
        collected(
            Document("a", "Some text here.", "a.md"),
            Document("b", "some  text here", "b.md"),
            examples=[example(500, evidence=("b",))],
        ),
        Preparation(),
    )
    assert [document.id for document in prepared.split.training.documents] == ["a"]
    assert [(drop.id, drop.kind) for drop in prepared.dropped] == [("b", "document")]
    assert everything(prepared)["e500"].evidence == ("a",)


def test_near_copies_of_documents_are_kept_and_told_of() -> None:
    text = " ".join(f"word{n}" for n in range(200))
    prepared = prepare(
        collected(Document("v1", text, "v1.md"), Document("v2", text + " more", "v2.md")),
        Preparation(),
    )
    assert prepared.counts["documents"] == 2
    assert "2 documents are near-copies of one another (first: v1, v2)" in prepared.warnings[0]


def test_repeated_examples_go_and_inputs_with_two_answers_stay_in_one_part() -> None:
    prepared = prepare(
        collected(
            examples=[
                example(500, "Why?", "so"),
                example(501, "why", "So."),
                example(502, "Why?", "else"),
            ]
        ),
        Preparation(),
    )
    assert [(drop.id, drop.reason) for drop in prepared.dropped] == [
        ("e501", "has the same input and answer as e500")
    ]
    kept = everything(prepared)
    assert kept["e500"].group == kept["e502"].group
    assert any("e500 and e502" in warning for warning in prepared.warnings)


def test_evidence_may_name_a_file_and_unknown_names_are_warned_of() -> None:
    prepared = prepare(
        collected(
            Document("handbook", "Notice is three months.", "docs/handbook.md"),
            examples=[example(500, evidence=("handbook.md",)), example(501, evidence=("nowhere",))],
        ),
        Preparation(),
    )
    kept = everything(prepared)
    assert kept["e500"].evidence == ("handbook",)
    assert kept["e501"].evidence == ()
    assert any("'nowhere' in x:501" in warning for warning in prepared.warnings)


def test_personal_data_are_counted_by_kind() -> None:
    text = (
        "Write to ann@example.org or call 800-827-1000; card 4111 1111 1111 1111, "
        "IBAN GB82 WEST 1234 5698 7654 32."
    )
    prepared = prepare(collected(Document("a", text, "a.md")), Preparation())
    assert prepared.personal_data == {
        "IBAN": 1,
        "card number": 1,
        "e-mail address": 1,
        "phone number": 1,
    }


def test_no_examples_is_an_error() -> None:
    with pytest.raises(DataError, match="no examples"):
        prepare(Collected((), (), ()), Preparation())


FOLDERS = {
    "ecommerce": 2505,
    "customer-support": 188,
    "legal": 104,
    "education": 317,
    "finance": 403,
    "healthcare": 1084,
    "content-creation": 633,
}


@pytest.mark.parametrize("name", FOLDERS)
def test_real_folders_are_read_whole_and_split_without_a_leak(name: str) -> None:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: it comes beside the repository, not in it")
    found = collect(folder, ["documents"], ["examples.jsonl"])
    assert len(found.documents) == FOLDERS[name]
    assert found.dropped == ()
    ids = {document.id for document in found.documents}
    rows = [
        json.loads(line) for line in (folder / "examples.jsonl").read_text().split("\n") if line
    ]
    assert {id for row in rows for id in row.get("document_ids", [])} <= ids
    prepared = prepare(found, Preparation())
    assert leaks(prepared.split) == []
    test = len(prepared.split.test)
    assert 0.18 < test / len(found.examples) < 0.22
