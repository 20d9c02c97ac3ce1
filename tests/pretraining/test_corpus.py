"""What thimble is not trained on: anything that sartor is tested on."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from corpus import evaluation_texts, texts, triples, uncontaminated

RUN = ["the", "notice", "period", "for", "a", "tenant", "who", "leaves", "early"]
RUN += ["is", "four", "weeks", "exactly"]
assert len(RUN) == 13


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An evaluation folder with one page and one example, and no corpus yet."""
    folder = tmp_path / "legal"
    (folder / "documents").mkdir(parents=True)
    bold = " ".join([*RUN[:6], f"<b>{RUN[6]}</b>", *RUN[7:]])
    page = f"<html><body><p>{bold}</p></body></html>"
    (folder / "documents" / "lease.html").write_text(page)
    row = {"input": "Who?", "output": "Nobody.", "evidence": ["a quite short one"]}
    (folder / "examples.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


def pretrain(data: Path, name: str, *rows: dict[str, object]) -> Path:
    (data / "pretrain").mkdir(exist_ok=True)
    with lzma.open(data / "pretrain" / name, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"licence": "CC BY 4.0", **row}) + "\n" for row in rows)
    return data / "pretrain"


def test_all_text_of_the_evaluation_folders_is_known(data: Path) -> None:
    found = evaluation_texts(data)
    assert {"Who?", "Nobody.", "a quite short one"} <= set(found)
    assert any("<b>" in text for text in found)


def test_a_run_that_markup_breaks_on_the_disk_is_still_found(data: Path) -> None:
    copied = f"It says that {' '.join(RUN)}, and more."
    shorter = f"It says that {' '.join(RUN[:-1])}, and more."
    assert uncontaminated([copied, shorter], evaluation_texts(data)) == [1]


def test_sources_under_test_and_share_alike_texts_are_left_out(data: Path) -> None:
    folder = pretrain(
        data,
        "text-00.jsonl.xz",
        {"text": "kept", "source": "openstax/nursing/m1"},
        {"text": " ".join(RUN), "source": "openstax/nursing/m2"},
        {"text": "under test", "source": "openstax/finance/m3"},
        {"text": "share-alike", "source": "other", "licence": "CC BY-SA 4.0"},
    )
    assert texts(folder, evaluation_texts(data)) == ["kept"]


def test_triples_are_checked_whole_and_say_so_when_there_is_no_answer(data: Path) -> None:
    plain = {"context": "It rains.", "question": "Where?", "source": "a", "kind": "cloze"}
    folder = pretrain(
        data,
        "reading.jsonl.xz",
        {**plain, "answer": "Here."},
        {**plain, "answer": "The passage does not say.", "kind": "unanswerable"},
        {**plain, "answer": f"Because {' '.join(RUN)}."},
        {**plain, "answer": "Known.", "overlaps": "legal"},
    )
    kept = triples(folder, evaluation_texts(data))
    assert [triple.answer for triple in kept] == ["Here.", "I don't know."]


def test_a_folder_without_evaluation_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no .*documents.* --data"):
        evaluation_texts(tmp_path)
