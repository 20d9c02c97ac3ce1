"""Stacking: what is trained on top of what, what of the base stays, how a stopped one goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import ALIKE, Stopping

from sartor import progress
from sartor.errors import SettingError
from sartor.models import base_card, chat, local
from sartor.models.language_model import ModelCard
from sartor.techniques.registry import build

# PEFT asks transformers by an old name; techniques keep that from users, tests call PEFT themselves
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

QUICK: dict[str, Any] = {"learning_rates": (1e-2,), "epochs": 2, "batch_size": 4, "looks": 1}
IDLE = {**QUICK, "learning_rates": (1e-12,)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("adapter")
    build("lora", {**QUICK, "rank": 2}).fit(base, ALIKE, folder)
    return str(folder)


def prompt() -> torch.Tensor:
    return torch.tensor([chat.encode(tiny_models.tokenizer(), ALIKE.train[0].input)])


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(network(input_ids=prompt()).logits)


def contents(folder: str | Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_with_nothing_learned_on_top_it_is_the_earlier_adapter(
    base: ModelCard, adapter: str, tmp_path: Path
) -> None:
    before = contents(base.path), contents(adapter)
    technique: Any = build("stack+lora", {"on": adapter}, {"lora": IDLE})
    made = technique.fit(base, ALIKE, tmp_path)
    served = logits(technique.load(made).inner.network)
    bare = local.load_network(base, torch.float32)
    assert not torch.allclose(served, logits(bare), atol=1e-2)
    theirs = logits(peft.PeftModel.from_pretrained(bare, adapter))
    torch.testing.assert_close(served, theirs, atol=1e-4, rtol=1e-4)
    assert (contents(base.path), contents(adapter)) == before
    assert made.base == base


@pytest.mark.parametrize("inside", ["lora", "full", "p-tuning"])
def test_what_is_inside_trains_on_top(
    inside: str, base: ModelCard, adapter: str, tmp_path: Path
) -> None:
    technique: Any = build(f"stack+{inside}", {"on": adapter}, {inside: QUICK})
    made = technique.fit(base, ALIKE, tmp_path / "made")
    # The same in two steps of one's own: PEFT folds, and what is inside trains on that.
    folder = tmp_path / "folded"
    network = local.load_network(base, torch.float32)
    peft.PeftModel.from_pretrained(network, adapter).merge_and_unload().save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
    alone: Any = build(inside, QUICK)
    card = base_card.describe(str(folder))
    other = alone.load(alone.fit(card, ALIKE, tmp_path / "alone"))
    [ours, theirs] = [m.inner for m in (technique.load(made), other)]
    torch.testing.assert_close(logits(ours.network), logits(theirs.network), atol=1e-3, rtol=1e-3)
    if ours.virtual is not None:
        torch.testing.assert_close(ours.virtual, theirs.virtual, atol=1e-4, rtol=1e-4)


def test_without_an_earlier_adapter_it_trains_twice(base: ModelCard, tmp_path: Path) -> None:
    technique: Any = build("stack+lora", {}, {"lora": {**QUICK, "rank": 1}})
    made = technique.fit(base, ALIKE, tmp_path)
    bare, served = local.load_network(base, torch.float32), technique.load(made).inner.network
    name = "model.layers.0.self_attn.q_proj.weight"
    change = served.state_dict()[name] - bare.state_dict()[name]
    sizes = torch.linalg.svdvals(change)
    assert sizes[1] > 1e-3 * sizes[0]  # of rank 2: one from each
    assert sizes[2] < 1e-3 * sizes[1]
    first, second = (float(note.rpartition(" ")[2]) for note in made.notes if "loss" in note)
    assert second < first


def test_a_stack_that_was_stopped_folds_and_trains_nothing_again(
    base: ModelCard, tmp_path: Path
) -> None:
    technique: Any = build("stack+lora", {}, {"lora": QUICK})
    whole = technique.fit(base, ALIKE, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(6)):
        technique.fit(base, ALIKE, tmp_path / "stopped")
    folded = tmp_path / "stopped" / "base" / "model.safetensors"
    written = folded.stat().st_mtime_ns
    made = technique.fit(base, ALIKE, tmp_path / "stopped")
    assert made.digest == whole.digest
    assert folded.stat().st_mtime_ns == written


def test_another_adapter_in_the_same_folder_is_folded_anew(
    base: ModelCard, adapter: str, tmp_path: Path
) -> None:
    there = tmp_path / "adapter"
    shutil.copytree(adapter, there)
    technique: Any = build("stack+lora", {"on": str(there)}, {"lora": IDLE})
    first = technique.fit(base, ALIKE, tmp_path / "made")
    build("lora", {**QUICK, "rank": 2, "seed": 5}).fit(base, ALIKE, there)
    second = technique.fit(base, ALIKE, tmp_path / "made")
    assert first.digest != second.digest
    network = local.load_network(base, torch.float32)
    theirs = logits(peft.PeftModel.from_pretrained(network, str(there)))
    served = logits(technique.load(second).inner.network)
    torch.testing.assert_close(served, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("stack+zero-shot", "zero-shot inside it trains nothing"),
        ("stack+p-tuning", "p-tuning cannot be folded into a base"),
    ],
)
def test_what_cannot_be_stacked_is_refused(name: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        build(name)
