"""Every technique that trains, on every architecture of the catalogue and more: one step changes
what it should and nothing else, and what is served is what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import ALIKE

from sartor.errors import ModelError, TrainingError
from sartor.models.language_model import ModelCard, Sampling
from sartor.techniques.registry import build
from sartor.techniques.trained import with_instruction
from sartor.training import loop
from sartor.training.loop import Trainable, Trained
from sartor.training.packing import answer_loss, encode

TRAINED = ("prompt-tuning", "p-tuning", "prefix-tuning", "ia3", "lora", "full")
STEP: dict[str, Any] = {"learning_rates": (3e-2,), "epochs": 1, "batch_size": 64, "looks": 1}
QUICK: dict[str, Any] = {"virtual_tokens": 4, "encoder_hidden": 8, "rank": 2}
NO_CACHE = {"mamba"}
SHORT_SIGHTED = {
    "mistral", "gemma2", "gemma3", "gemma3n", "gemma4", "gpt_neo", "gpt_oss", "qwen3_5",
}  # fmt: skip
DEEP = {"gemma3n"}
REFUSED = {
    **{(a, t): (ModelError, "keeps no cache") for a in NO_CACHE for t in TRAINED},
    **{(a, "prefix-tuning"): (TrainingError, "see only the last tokens") for a in SHORT_SIGHTED},
    **{
        (a, t): (TrainingError, "looks its tokens up in every layer")
        for a in DEEP
        for t in ("prompt-tuning", "p-tuning")
    },
}
"""What cannot work, and what is said of it before anything is trained."""


@pytest.fixture(scope="module", params=tiny_models.ARCHITECTURES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp(request.param) / request.param, request.param)


def made(technique: str) -> Any:
    plain = build(technique)
    return build(technique, {k: v for k, v in {**STEP, **QUICK}.items() if hasattr(plain, k)})


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_changes_what_it_should_and_that_is_what_is_served(
    name: str, base: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    technique = made(name)
    refused = REFUSED.get((Path(base.path).name, name))
    if refused:
        with pytest.raises(refused[0], match=refused[1]):
            technique.fit(base, ALIKE, tmp_path / "made")
        return
    changed: list[str] = []
    kept: list[str] = []

    def watched(trainable: Trainable, *given: Any) -> Trained:
        network = trainable.network
        before = {n: p.detach().clone() for n, p in network.named_parameters()}
        first = {n: p.detach().clone() for n, p in trainable.parameters.items()}
        result: Trained = train(trainable, *given)
        ours = {id(p) for p in trainable.parameters.values()}
        for n, p in network.named_parameters():
            if id(p) not in ours:
                kept.append(n)
                assert torch.equal(p, before[n]), f"{n} was not to be trained"
        changed.extend(n for n, p in trainable.parameters.items() if not torch.equal(p, first[n]))
        return result

    train = loop.train
    monkeypatch.setattr("sartor.techniques.trained.train", watched)
    record = technique.fit(base, ALIKE, tmp_path / "made")
    assert changed
    assert bool(kept) is (name != "full")
    model: Any = technique.load(record)
    said = float(record.notes[2].removeprefix("validation loss "))
    held = with_instruction(ALIKE, technique.system).validation
    encoded = encode(tiny_models.tokenizer(), held, base.context)
    with torch.no_grad():
        loss, scored = answer_loss(model.inner.network, encoded, model.inner.virtual)
    assert loss.item() / scored == pytest.approx(said, rel=0.04)
    requests = [example.input for example in ALIKE.train[:3]]
    together = model.generate(requests, Sampling(max_new_tokens=4))
    alone = [model.generate([request], Sampling(max_new_tokens=4))[0] for request in requests]
    assert [c.text for c in together] == [c.text for c in alone]
    again: Any = technique.load(record)
    for (n, one), (_, other) in zip(
        model.inner.network.named_parameters(), again.inner.network.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), f"{n} differs from load to load"
