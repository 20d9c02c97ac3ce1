"""The embedded store: what it finds, forgets, and keeps for the next process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rank_bm25 import BM25Okapi
from tests.training.test_loop import full_disk

from sartor.data.records import Passage
from sartor.errors import DataError, DiskError
from sartor.retrieval.fusion import RANK_CONSTANT, reciprocal_rank
from sartor.retrieval.hybrid import CANDIDATES, HybridRetriever, searchable
from sartor.retrieval.retriever import Hit

TEXTS = (
    "Parental leave lasts twelve weeks, paid full wages, parent chooses start.",
    "Notice period: four weeks, contract ends month later, letter signed, letter posted.",
    "Bicycle parking stays yard side, hall floor stays free, door stays shut, lock bicycle.",
    "Desk lamp, green shade, brass foot, warm night light.",
    "Contract renewal: spring, unless notice arrives.",
    "Green tea served morning, kitchen door.",
    "Staff request unpaid leave spring, writing.",
    "Night shift pay rises ten percent, four weeks passed, payroll office says pay.",
)
"""Of different lengths, and without words so common that one side may ignore them."""


def passage(number: int, text: str, title: str = "") -> Passage:
    return Passage(f"d{number}", 0, len(text), text, title)


PASSAGES = tuple(passage(i, text) for i, text in enumerate(TEXTS))


@pytest.fixture
def store(tmp_path: Path) -> HybridRetriever:
    made = HybridRetriever(tmp_path / "index")
    made.index(PASSAGES)
    return made


def found(store: HybridRetriever, query: str, top_k: int = 3) -> list[str]:
    [hits] = store.search([query], top_k)
    return [hit.passage.document_id for hit in hits]


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("how many weeks is parental leave?", "d0"),
        ("What is the notice period?", "d1"),
        ("where can I lock my bike", "d2"),
        ("LAMP green", "d3"),
        ("request unpaid leave", "d6"),
    ],
)
def test_a_question_finds_the_passage_that_answers_it(
    store: HybridRetriever, query: str, best: str
) -> None:
    assert found(store, query, 1) == [best]


@pytest.mark.reference
@pytest.mark.parametrize(
    "query", ["notice contract", "green lamp", "night pay weeks", "leave spring", "door"]
)
def test_full_text_ranks_as_rank_bm25_does(store: HybridRetriever, query: str) -> None:
    words = [re.findall(r"\w+", text.lower()) for text in TEXTS]
    scores = BM25Okapi(words, k1=1.2, b=0.75).get_scores(query.split())
    expected = sorted((i for i, s in enumerate(scores) if s > 0), key=lambda i: (-scores[i], i))
    ours = [row["document_id"] for row in store._lexical(query, CANDIDATES)]
    assert ours == [f"d{i}" for i in expected]


def test_hits_are_whole_passages_best_first_and_no_more_than_asked(store: HybridRetriever) -> None:
    hits = store.search(["notice", "leave"], 3)
    assert [len(one) for one in hits] == [3, 3]
    for one in hits:
        assert [hit.score for hit in one] == sorted((hit.score for hit in one), reverse=True)
        assert {hit.passage for hit in one} <= set(PASSAGES)
    assert len(store.search(["notice"], 100)[0]) == len(PASSAGES)
    assert store.search([], 3) == []


def test_more_than_the_usual_number_can_be_asked_for(tmp_path: Path) -> None:
    store = HybridRetriever(tmp_path)
    store.index([passage(i, f"Notice number {i}.") for i in range(CANDIDATES + 20)])
    assert len(found(store, "notice", CANDIDATES + 10)) == CANDIDATES + 10


@pytest.mark.parametrize("query", ["", "  \n", "?!", "🚲"])
def test_a_query_without_a_word_finds_nothing(store: HybridRetriever, query: str) -> None:
    assert store.search([query, "notice"], 2)[0] == []
    assert len(store.search([query, "notice"], 2)[1]) == 2


@pytest.mark.parametrize(
    "query", ['"notice', "notice AND (", "notice' OR 1=1 --", "a\x00b", "*", "notice " * 2000]
)
def test_no_query_is_taken_for_a_command(store: HybridRetriever, query: str) -> None:
    assert len(store.search([query], 2)[0]) in (0, 2)


def test_a_title_is_searched_too_but_once(tmp_path: Path) -> None:
    titled = passage(0, "It has three gears.", "Orange bicycle")
    assert searchable(titled) == "Orange bicycle\nIt has three gears."
    assert searchable(passage(0, "Orange bicycle. Fast.", "Orange bicycle")).count("Orange") == 1
    store = HybridRetriever(tmp_path)
    store.index([passage(1, "It has three legs.", "Stool"), titled])
    assert found(store, "orange", 1) == ["d0"]


def test_deleted_documents_are_found_no_more(store: HybridRetriever) -> None:
    store.delete(["d1", "d4", "it's not there"])
    left = found(store, "notice contract", 100)
    assert set(left) == {"d0", "d2", "d3", "d5", "d6", "d7"}


def test_a_document_id_may_hold_quotes(tmp_path: Path) -> None:
    store = HybridRetriever(tmp_path)
    odd = Passage("o'brien's \"notes\".md", 0, 6, "Notice", "")
    store.index([odd, *PASSAGES])
    assert found(store, "notice", 1) == [odd.document_id]
    store.delete([odd.document_id])
    assert odd.document_id not in found(store, "notice", 100)


def test_indexing_again_replaces_what_was_there(store: HybridRetriever, tmp_path: Path) -> None:
    store.index([passage(9, "Notice: five weeks.")])
    assert found(store, "notice", 100) == ["d9"]
    assert found(HybridRetriever(tmp_path / "index"), "notice", 100) == ["d9"]


def test_the_same_again_gives_the_same(store: HybridRetriever, tmp_path: Path) -> None:
    other = HybridRetriever(tmp_path / "other")
    other.index(PASSAGES)
    queries = ["notice weeks", "green", "who pays?", "door"]
    assert other.search(queries, 8) == store.search(queries, 8)


def test_another_process_finds_the_same(store: HybridRetriever, tmp_path: Path) -> None:
    code = (
        "import sys, json; from pathlib import Path\n"
        "from sartor.retrieval.hybrid import HybridRetriever\n"
        "hits = HybridRetriever(Path(sys.argv[1])).search(sys.argv[2:], 3)\n"
        "print(json.dumps([[(h.passage.document_id, h.score) for h in one] for one in hits]))"
    )
    queries = ["notice weeks", "green door"]
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "index"), *queries],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours = [[[h.passage.document_id, h.score] for h in one] for one in store.search(queries, 3)]
    assert json.loads(run.stdout) == ours
    assert run.stderr == ""


def test_a_disk_that_is_full_for_the_index_is_told_with_its_folder(tmp_path: Path) -> None:
    store = HybridRetriever(tmp_path / "index")
    told = rf"cannot write {re.escape(str(store.directory))}: File too large\. Free some space"
    with full_disk(100), pytest.raises(DiskError, match=told):
        store.index(PASSAGES)
    store.index(PASSAGES)
    assert found(store, "green shade", 1) == ["d3"]


def test_nothing_to_index_and_no_index_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no passages to index"):
        HybridRetriever(tmp_path).index([])
    with pytest.raises(DataError, match="holds no index of passages"):
        HybridRetriever(tmp_path / "none").search(["notice"], 1)


@pytest.mark.parametrize("pattern", ["data/*.lance", "_indices/*/part_0_docs.lance"])
@pytest.mark.parametrize("length", [None, 0, 40])
def test_files_that_are_gone_or_cut_short_are_told_with_what_to_delete(
    tmp_path: Path, pattern: str, length: int | None
) -> None:
    made = tmp_path / "customizations" / "few-shot+rag-123"
    directory = made / "inner" / "index"
    HybridRetriever(directory).index(PASSAGES)
    [file] = (directory / "passages.lance").glob(pattern)
    content = file.read_bytes()
    file.unlink()
    if length is not None:
        file.write_bytes(content[:length])
    with pytest.raises(DataError) as caught:
        HybridRetriever(directory).search(["notice"], 2)
    assert f"the index of passages in {directory} is broken" in str(caught.value)
    assert f"Delete {made} and run again" in str(caught.value)


def test_rankings_are_fused_by_reciprocal_rank() -> None:
    fused = dict(reciprocal_rank([["a", "b", "c"], ["b", "d"]]))
    k = RANK_CONSTANT
    assert fused == {
        "b": 1 / (k + 2) + 1 / (k + 1),
        "a": 1 / (k + 1),
        "d": 1 / (k + 2),
        "c": 1 / (k + 3),
    }
    assert [key for key, _ in reciprocal_rank([["a", "b", "c"], ["b", "d"]])] == [
        "b",
        "a",
        "d",
        "c",
    ]
    assert reciprocal_rank([]) == []


def test_a_hit_is_a_record(store: HybridRetriever) -> None:
    [[hit]] = store.search(["notice period"], 1)
    assert hit == Hit(PASSAGES[1], hit.score)


def test_the_encoder_leaves_the_programs_logging_as_it_was() -> None:
    code = (
        "import logging; from sartor.models.encoder import StaticEncoder; "
        "StaticEncoder().encode(['a lamp']); root = logging.getLogger(); "
        "print(root.level, root.handlers)"
    )
    run = [sys.executable, "-c", code]
    told = subprocess.run(run, capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.split() == ["30", "[]"]
