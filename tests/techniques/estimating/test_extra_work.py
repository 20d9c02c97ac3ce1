"""What techniques around a trained one are counted to add, against what they then do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import tiny_models

from sartor.data.records import Document, Example, Message, TrainingData
from sartor.models.language_model import ModelCard
from sartor.techniques.continued_pretraining import ContinuedPretraining
from sartor.techniques.distill import Distill
from sartor.techniques.dpo import DPO
from sartor.techniques.estimating.estimate import estimated
from sartor.techniques.estimating.extra_work import reading_texts
from sartor.techniques.estimating.workload import Workload, of_texts, workload
from sartor.techniques.kto import KTO
from sartor.techniques.lora import LoRA
from sartor.techniques.merge import Merge
from sartor.techniques.optimized_prompt import OptimizedPrompt
from sartor.techniques.orpo import ORPO
from sartor.techniques.search import Search
from sartor.techniques.stack import Stack
from sartor.training.passes import Passes

TEXT = "The lamp in hall {} has a green shade, a brass foot and a long cord of red silk. "
DOCUMENTS = tuple(Document(f"d{i}", TEXT.format(i) * 6, f"Lamp {i}") for i in range(6))
LORA = LoRA(
    rank=2, learning_rates=(1e-3,), epochs=1, batch_size=4, patience=100, checkpointing="off"
)


def examples(prefix: str, count: int) -> tuple[Example, ...]:
    return tuple(
        Example(
            f"{prefix}{i}",
            (Message("user", f"What color is lamp {prefix}{i}?"),),
            ("green",),
            rejected=("It may be any color at all.",) if i % 2 else (),
            tags=("hall",) if i % 3 else ("room",),
        )
        for i in range(count)
    )


DATA = TrainingData(DOCUMENTS, examples("t", 24), examples("v", 9))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return replace(tiny_models.save(tmp_path_factory.mktemp("base")), context=2048)


def counted(technique: Any, base: ModelCard) -> Workload:
    return workload(technique, base, DATA, tiny_models.tokenizer())


def tokens_trained_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Their number from here on, as the only entry."""
    done, gradients = [0], Passes.gradients

    def counting(self: Passes, batch: Any, *given: Any) -> Any:
        done[0] += sum(len(item.tokens) for item in batch)
        return gradients(self, batch, *given)

    monkeypatch.setattr(Passes, "gradients", counting)
    return done


@pytest.mark.parametrize(
    "technique",
    [
        DPO(inner=LORA, learning_rates=(1e-4,), epochs=2),
        DPO(inner=LORA, learning_rates=(1e-5, 1e-4, 1e-3), epochs=2),
        KTO(inner=LORA, learning_rates=(1e-4,), epochs=1, supervised=False),
        Merge(inner=LORA, weights=(1.0, 1.0)),
        Merge(inner=LORA, by="seed", most=2, weights=(1.0, 1.0)),
        Stack(inner=LORA),
        Search(inner=LORA, trials=2, pruning="none", space={"rank": [2, 4, 8]}),
        Search(inner=LORA, trials=9, budget_tokens=10, pruning="none", space={"rank": [2, 4, 8]}),
    ],
)
def test_training_does_the_tokens_that_were_counted(
    technique: Any, base: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tokens_trained_on(monkeypatch)
    technique.fit(base, DATA, tmp_path)
    assert done[0] > 0
    assert counted(technique, base).training_tokens == pytest.approx(done[0], rel=0.15)


def test_the_documents_that_are_read_are_counted_too(
    base: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    technique = ContinuedPretraining(
        learning_rates=(1e-3,), epochs=2, batch_size=2, patience=100, rank=4, piece_tokens=64
    )
    done = tokens_trained_on(monkeypatch)
    technique.fit(base, DATA, tmp_path)
    text = reading_texts(technique)
    assert text is not None
    work = of_texts(text, base, DATA, tiny_models.tokenizer())
    assert work.training_tokens == pytest.approx(done[0], rel=0.2)
    found = estimated(technique, base, DATA, 4, 8)
    assert found.training_tokens == work.training_tokens
    assert found.seconds_to_customize > estimated(text.inner, base, DATA, 4, 8).seconds_to_customize


def test_a_reference_is_read_where_an_objective_has_one(base: ModelCard) -> None:
    options: dict[str, Any] = {"inner": LORA, "learning_rates": (1e-4,), "epochs": 1}
    dpo, orpo, kto = (counted(kind(**options), base) for kind in (DPO, ORPO, KTO))
    assert dpo.training_tokens == orpo.training_tokens
    assert dpo.read_tokens > orpo.read_tokens > 0  # looks at validation are read too
    assert kto.read_tokens > dpo.read_tokens


@pytest.mark.parametrize(
    ("technique", "file"),
    [
        (OptimizedPrompt(prompts=5, examples=1, max_new_tokens=2), "asked.jsonl"),
        (Distill(inner=LORA, max_new_tokens=2, keep_cut_off=True), "teacher/answers.jsonl"),
    ],
)
def test_as_many_answers_are_asked_for_as_were_counted(
    technique: Any, file: str, base: ModelCard, tmp_path: Path
) -> None:
    technique.fit(base, DATA, tmp_path)
    done = len((tmp_path / file).read_text("utf-8").splitlines())
    work = counted(technique, base)
    asked = work.asked_new_tokens / min(work.answer_tokens, technique.max_new_tokens)
    assert asked == pytest.approx(done, rel=0.05)
    assert work.asked_prompt_tokens > 0


def test_a_search_takes_no_longer_than_its_budget_and_the_run_it_ends_in(base: ModelCard) -> None:
    one = Search(inner=LORA, trials=50, space={"rank": [2, 4, 8]})
    free, bound = (counted(replace(one, budget_seconds=s), base) for s in (None, 5.0))
    assert (free.most_seconds, bound.most_seconds) == (float("inf"), 5.0)
    assert bound.runs == 50
