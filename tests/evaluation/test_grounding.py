"""The grounding check, the set it was measured on, and classifiers of entailment."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from benchmarks import grounding
from tests import tiny_models
from transformers import BertConfig, BertForSequenceClassification

from sartor.errors import ModelError
from sartor.evaluation.scorers import support
from sartor.evaluation.scorers.entailment import entailment_by, read_verdict
from sartor.evaluation.scorers.exactly import missing
from sartor.evaluation.scorers.place import Place


def test_the_set_is_as_large_as_it_is_said_to_be_and_its_halves_share_no_document() -> None:
    claims = grounding.read()
    assert Counter(claim.label for claim in claims) == dict.fromkeys(grounding.LABELS, 316)
    rows = [json.loads(row) for row in grounding.SET.read_text("utf-8").split("\n") if row]
    halves = [{r["document"] for r in rows if r["part"] == p} for p in ("development", "held-out")]
    assert all(halves)
    assert not halves[0] & halves[1]
    assert len({claim.text for claim in claims}) == len(claims)


@pytest.mark.reference
def test_the_figures_shown_beside_scores_are_those_of_the_check_as_it_is() -> None:
    """Measured anew, and fitted anew: a change of the check that leaves them stale fails here."""
    kept = json.loads(support.FIGURES.read_text("utf-8"))
    claims = grounding.read()
    held = [claim for claim in claims if claim.part == "held-out"]
    said = [not support.support(claim.text, [claim.passage]).doubt for claim in held]
    found = grounding.rates(held, said)
    for label, row in kept["held-out"].items():
        assert found[label]["n"] == row["n"]
        assert found[label]["right"] == pytest.approx(row["right"], abs=0.01)  # other machines
    fitted = grounding.fit([claim for claim in claims if claim.part == "development"])
    assert fitted["weights"] == pytest.approx(kept["check"]["weights"], abs=0.01)
    assert f"{kept['held-out']['all']['right']:.0%} of {len(held)} labelled" in support.note()


@pytest.mark.parametrize(
    ("claim", "gone"),
    [
        ("It has 7 wheels.", ""),
        ("It has seven wheels.", ""),
        ("It has nine wheels.", "9"),
        ("Sold on 2024-05-03.", ""),
        ("Sold on 3 May 2024.", ""),
        ("Sold on 4 May 2024.", "4"),
        ("It was made by Ortiz.", ""),
        ("It was made by Silva.", "Silva"),
        ("one of them", ""),
    ],
)
def test_numbers_names_and_dates_must_stand_there_exactly(claim: str, gone: str) -> None:
    passage = "The cart by Ortiz has seven wheels. It was sold on May 3, 2024."
    said = missing(claim, [passage])
    assert said.startswith("not in the passages") == bool(gone)
    assert gone in said


def test_a_verdict_is_read_strictly() -> None:
    assert read_verdict('{"verdict": "contradicted"}') == "contradicted"
    for reply in ("supported", '{"verdict": "maybe"}', '{"verdict": "supported"} indeed', "[]"):
        assert not isinstance(read_verdict(reply), str)


def classifier(folder: Path, labels: list[str], winner: int) -> str:
    """A classifier whose bias alone decides."""
    tokenizer = tiny_models.tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=32, max_position_embeddings=128, pad_token_id=0,
        id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)},
    )  # fmt: skip
    made = BertForSequenceClassification(config)
    with torch.no_grad():
        made.classifier.bias[winner] = 99.0
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder.name


@pytest.mark.parametrize(
    ("labels", "winner", "verdict"),
    [
        (["CONTRADICTION", "NEUTRAL", "ENTAILMENT"], 2, "supported"),
        (["CONTRADICTION", "NEUTRAL", "ENTAILMENT"], 0, "contradicted"),
        (["CONTRADICTION", "NEUTRAL", "ENTAILMENT"], 1, "not in passage"),
        (["entailment", "not_entailment"], 1, "not in passage"),
    ],
)
def test_a_classifiers_labels_are_read_by_name(
    tmp_path: Path, labels: list[str], winner: int, verdict: str
) -> None:
    model = entailment_by("x", classifier(tmp_path / "nli", labels, winner), Place(tmp_path))
    assert model.verdicts([("The lamp is green.", "It is red."), ("a " * 999, "b")]) == [
        verdict,
        verdict,
    ]


def test_a_classifier_of_something_else_is_refused(tmp_path: Path) -> None:
    name = classifier(tmp_path / "mood", ["good", "bad"], 0)
    with pytest.raises(ModelError, match="to be named 'entailment'"):
        entailment_by("x", name, Place(tmp_path))
