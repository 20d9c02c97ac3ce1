"""Every technique on every architecture: with all tricks on, the gradient of what it trains is that
of transformers' own forward pass, one example at a time, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.techniques.test_architectures import QUICK, REFUSED
from tests.training.test_loop import ALIKE
from tests.training.test_packing import distance, plain_loss
from transformers import DynamicCache

from sartor.data.records import TrainingData
from sartor.errors import TrainingError
from sartor.models.language_model import ModelCard
from sartor.models.prefix import Prefix
from sartor.techniques.registry import build
from sartor.training.loop import Trainable, Trained
from sartor.training.packing import Encoded
from sartor.training.settings import TrainingSettings
from sartor.training.tricks import keep_lower, use_tricks

TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt-tuning": ("prompt-tuning", {}),
    "p-tuning": ("p-tuning", {}),
    "prefix-tuning": ("prefix-tuning", {}),
    "ia3": ("ia3", {}),
    "lora": ("lora", {}),
    "lora, dora": ("lora", {"dora": True}),
    "lora, rank_stabilized": ("lora", {"rank_stabilized": True}),
    "full": ("full", {}),
}
SHAPES = ((24, 3, 2), (40, 20, 5), (24, 8, 4), (40, 30, 6), (0, 7, 3))
"""Tokens that are shared, of the rest of the prompt, and of the answer: more than a window."""
TOLERANCE = 5e-5
"""Length of the difference of the gradients, in parts of the plain one's: rounding in float32."""
EXPERTS_AS_ONE = {"qwen3_moe", "mixtral", "deepseek_v3"}
"""PEFT adapts experts that are kept as one tensor, but not by DoRA, and says so."""


class Compared(Exception):  # noqa: N818  (nothing went wrong)
    """Ends the technique's work: what it would train has been looked at."""


def pack() -> list[Encoded]:
    """Some begin alike, for longer and for shorter."""
    generator = torch.Generator().manual_seed(5)

    def drawn(count: int) -> list[int]:
        return torch.randint(6, 300, (count,), generator=generator).tolist()

    beginning = drawn(40)
    return [
        Encoded(f"e{i}", (*beginning[:shared], *drawn(prompt + answer)), shared + prompt)
        for i, (shared, prompt, answer) in enumerate(SHAPES)
    ]


def behind_prefix(network: Any, examples: Sequence[Encoded], prefix: Prefix) -> torch.Tensor:
    """The plain loss of each example by itself, going on from transformers' own cache."""
    total = torch.zeros(())
    for example in examples:
        cache = DynamicCache(config=network.config)
        for layer, (keys, values) in enumerate(prefix.layers):
            cache.update(keys, values, layer)
        ids = torch.tensor([example.tokens])
        logits = network(input_ids=ids, past_key_values=cache, use_cache=True).logits[0]
        scored, labels = logits[example.prompt - 1 : -1], ids[0, example.prompt :]
        total = total + torch.nn.functional.cross_entropy(scored, labels, reduction="sum")
    return total


def plain(trainable: Trainable, examples: Sequence[Encoded]) -> torch.Tensor:
    virtual = trainable.virtual() if trainable.virtual else None
    if isinstance(virtual, Prefix):
        return behind_prefix(trainable.network, examples, virtual)
    return plain_loss(trainable.network, examples, virtual)


def moved(parameters: dict[str, torch.nn.Parameter]) -> None:
    """Away from where they begin: adapters that begin at zero give half of the gradients none."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def gradient(trainable: Trainable, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of everything that the loss reached, by name."""
    every = dict(trainable.network.named_parameters()) | trainable.parameters
    for parameter in every.values():
        parameter.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in every.items() if p.grad is not None}


@pytest.fixture(scope="module", params=tiny_models.ARCHITECTURES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp(request.param) / request.param, request.param)


@pytest.mark.reference
@pytest.mark.parametrize("what", TRAINED)
def test_with_every_trick_the_gradient_of_what_is_trained_is_the_plain_one(
    what: str, base: ModelCard, tmp_path: Path
) -> None:
    hold(what, base, tmp_path)


@pytest.mark.reference
@pytest.mark.parametrize("architecture", ["afmoe", "ernie4_5_moe", "qwen3_next"])
def test_so_is_that_of_adapters_beside_experts(architecture: str, tmp_path: Path) -> None:
    reached = hold("lora", tiny_models.save(tmp_path / architecture, architecture), tmp_path)
    assert any("shared_expert" in name and ".up_proj.lora_A" in name for name in reached)


def hold(what: str, base: ModelCard, tmp_path: Path) -> list[str]:
    """Compare; the names of what has a gradient."""
    reached: list[str] = []
    name, settings = TRAINED[what]
    quick = {k: v for k, v in QUICK.items() if hasattr(build(name), k)}
    technique: Any = build(name, {**quick, **settings, "precision": "float32"})

    def compare(
        trainable: Trainable, data: TrainingData, options: TrainingSettings, folder: Path, _: str
    ) -> Trained:
        network, trained = trainable.network, trainable.parameters
        if trainable.virtual is None and name != "full":
            moved(trained)
        network.train()
        expected = plain(trainable, pack())
        own = gradient(trainable, expected)
        virtual = trainable.virtual() if trainable.virtual else None
        use_tricks(network, options, virtual if isinstance(virtual, Prefix) else None)
        keep_lower(network, options, [] if virtual is not None else list(trained.values()), folder)
        network.train()
        loss, _weight = trainable.loss(pack())
        found = gradient(trainable, loss)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        assert found.keys() == own.keys()
        assert found.keys() <= trained.keys()
        assert len(found) > 0.5 * len(trained)
        assert all(g.dtype == torch.float32 for g in found.values())
        whole = [torch.cat([g[n].flatten() for n in own]) for g in (found, own)]
        assert whole[1].norm() > 1e-3
        assert distance(whole[0], whole[1]) <= TOLERANCE
        reached.extend(n for n, g in found.items() if g.any())
        raise Compared

    architecture = Path(base.path).name
    refused = REFUSED.get((architecture, name))
    if what == "lora, dora" and architecture in EXPERTS_AS_ONE:
        refused = (TrainingError, "does not work with use_dora")
    kind, words = refused or (Compared, None)
    with pytest.raises(kind, match=words):
        technique.fit(base, ALIKE, tmp_path, SimpleNamespace(course=compare))
    return reached
