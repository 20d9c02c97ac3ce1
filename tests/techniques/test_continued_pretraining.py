"""Continued pretraining: what is read of documents, what it makes of a base, what goes inside."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import ALIKE, Stopping, full_disk

from sartor import progress
from sartor.data.records import Document, TrainingData
from sartor.errors import DataError, DiskError, SettingError, TrainingError
from sartor.models import local
from sartor.models.language_model import ModelCard, Sampling
from sartor.techniques.registry import build
from sartor.training.corpus import Corpus
from sartor.training.objective import Reading
from sartor.training.packed_attention import use_packed_attention

QUICK: dict[str, Any] = {"learning_rates": (1e-2,), "epochs": 6, "batch_size": 4, "looks": 3}
TEXT = "The lamp that stands on the small desk is green, and the notice period is four weeks. "
DOCUMENTS = tuple(
    Document(f"d{number}", f"Chapter {number}. " + TEXT * (1 + number % 3), f"d{number}.txt")
    for number in range(12)
)
DATA = replace(ALIKE, documents=DOCUMENTS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


def reading(network: Any) -> Reading:
    tokenizer = tiny_models.tokenizer()
    return Reading(network, tokenizer, tiny_models.CONTEXT, lambda: None, nullcontext, 4096)


def test_every_token_of_a_document_is_scored_once_and_documents_stay_on_one_side() -> None:
    train, watched = Corpus(32).read(reading(None), DATA)
    sides = [{piece.id.partition(":")[0] for piece in part} for part in (train, watched)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == {document.id for document in DOCUMENTS}
    assert len(sides[1]) == 2
    tokenizer = tiny_models.tokenizer()
    for document in DOCUMENTS:
        own = [p for p in (*train, *watched) if p.id.startswith(f"{document.id}:")]
        assert all(len(piece.tokens) <= 32 and piece.prompt == 1 for piece in own)
        scored = [token for piece in own for token in piece.tokens[1:]]
        whole = tokenizer(document.text)["input_ids"]
        assert [own[0].tokens[0], *scored] == [*whole, tokenizer.eos_token_id]


@pytest.mark.reference
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "bloom"])
def test_the_loss_is_that_of_transformers(architecture: str) -> None:
    network = tiny_models.network(architecture)
    objective = Corpus(64)
    pieces, _ = objective.read(reading(network), DATA)
    expected = 0.0
    with torch.no_grad():
        for piece in pieces:
            ids = torch.tensor([piece.tokens])
            expected += network(ids, labels=ids).loss.item() * (len(piece.tokens) - 1)
        use_packed_attention(network)
        found = objective.loss(network, pieces, None).item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert sum(map(objective.weight, pieces)) == sum(len(p.tokens) - 1 for p in pieces)


def test_a_title_that_the_text_does_not_name_is_read_too() -> None:
    titled = (
        Document("a", "It is green.", "a.txt", "The lamp"),
        Document("b", "# The desk\n\nIt is blue.", "b.txt", "The desk"),
    )
    train, watched = Corpus(64).read(reading(None), TrainingData(titled, (), ()))
    texts = {p.id: tiny_models.tokenizer().decode(list(p.tokens)) for p in (*train, *watched)}
    assert texts["a:0"].startswith("The lamp\n\nIt is green.")
    assert texts["b:0"].startswith("# The desk\n\nIt is blue.")


def test_of_one_long_document_the_end_is_held_out() -> None:
    train, watched = Corpus(16).read(reading(None), replace(DATA, documents=DOCUMENTS[:1]))
    assert len(watched) == 1
    assert len(train) > 1
    short = (Document("s", "green", "s.txt"),)
    with pytest.raises(TrainingError, match="1 documents are too little text"):
        Corpus(64).read(reading(None), replace(DATA, documents=short))


def text_loss(network: Any, documents: tuple[Document, ...]) -> float:
    ids = [torch.tensor([tiny_models.tokenizer()(d.text)["input_ids"]]) for d in documents]
    with torch.no_grad():
        return float(sum(network(i, labels=i).loss.item() for i in ids) / len(ids))


@pytest.mark.parametrize("trained", ["lora", "full"])
def test_the_base_that_has_read_is_one_of_transformers_own(
    trained: str, base: ModelCard, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    technique = build("continued-pretraining", {"trained": trained, "rank": 8, **QUICK})
    made = technique.fit(base, DATA, tmp_path)
    served: Any = technique.load(made)
    network = served.inner.network
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    for one, other in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
    before = text_loss(local.load_network(base, torch.float32), DOCUMENTS)
    assert text_loss(plain, DOCUMENTS) < before - 1
    assert made.base == base
    assert made.trainable_parameters > 0


def test_what_is_inside_customizes_the_base_that_has_read(base: ModelCard, tmp_path: Path) -> None:
    technique: Any = build("continued-pretraining+lora", {"rank": 8, **QUICK}, {"lora": QUICK})
    made = technique.fit(base, DATA, tmp_path)
    model = technique.load(made)
    alone = technique.inner
    on_bare = alone.load(alone.fit(base, DATA, tmp_path / "alone"))
    loss = text_loss(model.inner.network, DOCUMENTS)
    assert loss < text_loss(on_bare.inner.network, DOCUMENTS) - 0.5
    [answer] = model.generate([DATA.train[0].input], Sampling(max_new_tokens=4))
    assert answer.text == "green"


def test_examples_that_change_do_not_have_the_documents_read_again(
    base: ModelCard, tmp_path: Path
) -> None:
    technique = build("continued-pretraining+lora", {"rank": 8, **QUICK}, {"lora": QUICK})
    technique.fit(base, DATA, tmp_path)
    weights = tmp_path / "base" / "model.safetensors"
    first = weights.stat().st_mtime_ns
    technique.fit(base, replace(DATA, train=DATA.train[1:]), tmp_path)
    assert weights.stat().st_mtime_ns == first
    technique.fit(base, replace(DATA, documents=DOCUMENTS[1:]), tmp_path)
    assert weights.stat().st_mtime_ns != first


def test_a_disk_that_is_full_for_the_base_does_not_have_the_documents_read_again(
    base: ModelCard, tmp_path: Path
) -> None:
    technique = build("continued-pretraining", {"rank": 2, **QUICK})
    whole = technique.fit(base, DATA, tmp_path / "whole")
    folder = tmp_path / "full"
    room = (tmp_path / "whole" / "base" / "model.safetensors").stat().st_size - 1
    with full_disk(room), pytest.raises(DiskError, match=r"cannot write .*base: File too large"):
        technique.fit(base, DATA, folder)
    assert not (folder / "base").exists()
    with progress.shown_by(Stopping(1)):  # nothing is trained again
        made = technique.fit(base, DATA, folder)
    assert made.digest == whole.digest
    assert {p.name for p in folder.iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}


def test_without_documents_it_is_refused_before_anything_is_made(
    base: ModelCard, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="there are no documents to read"):
        build("continued-pretraining").fit(base, ALIKE, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"piece_tokens": 4}, "piece_tokens is 4"),
        ({"rank": 0}, "rank is 0"),
        ({"epochs": 0}, "epoc"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        build("continued-pretraining", settings)
