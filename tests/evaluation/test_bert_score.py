"""BERTScore against its formula, with an encoder of two layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny_models
from transformers import BertConfig, BertModel

from sartor.data.records import Example, Message
from sartor.errors import ModelError, SettingError
from sartor.evaluation.records import Prediction
from sartor.evaluation.scorers.place import Place
from sartor.evaluation.scorers.registry import load_scorer
from sartor.models.language_model import Completion


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "bert"
    torch.manual_seed(0)
    tokenizer = tiny_models.tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=32, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def score(encoder: Path, answer: str, *targets: str) -> float:
    scorer = load_scorer("bert_score", {"model": encoder.name}, Place(encoder.parent))
    example = Example("e", (Message("user", "?"),), targets)
    [found] = scorer.score([Prediction(example, Completion(answer, "stop", 1, 1, 0.1))])
    return found.value


@pytest.mark.reference
def test_it_is_the_f1_of_greedy_matches(encoder: Path) -> None:
    """Token by token, in two loops: Zhang et al. 2020, section 3."""
    answer, target = "The lamp is green.", "The notice period is four weeks."
    tokenizer, network = tiny_models.tokenizer(), BertModel.from_pretrained(encoder).eval()

    def states(text: str) -> list[torch.Tensor]:
        with torch.no_grad():
            return list(network(**tokenizer(text, return_tensors="pt")).last_hidden_state[0])

    def nearest(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
        cosine = torch.nn.functional.cosine_similarity
        return sum(max(float(cosine(a, b, dim=0)) for b in other) for a in one) / len(one)

    precision = nearest(states(answer), states(target))
    recall = nearest(states(target), states(answer))
    expected = 2 * precision * recall / (precision + recall)
    assert score(encoder, answer, target) == pytest.approx(expected, abs=1e-5)
    assert score(encoder, answer, target, answer) == pytest.approx(1, abs=1e-5)
    assert score(encoder, "", target) == 0


def test_without_an_encoder_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="needs an encoder"):
        load_scorer("bert_score")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot be loaded as an encoder"):
        score(tmp_path / "empty", "a", "b")
