"""Merging: what is made of adapters, by hand and by PEFT; which weights win; what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny_models
from tests.training.test_loop import ALIKE, Heard, Stopping

from sartor import progress
from sartor.data.records import Example, TrainingData
from sartor.errors import DataError, DiskError, ModelError, SettingError, TrainingError
from sartor.models import base_card, chat, local, named
from sartor.models.language_model import ModelCard, Sampling
from sartor.progress import shown_by
from sartor.project import parse
from sartor.techniques import merging
from sartor.techniques.lora import LoRA
from sartor.techniques.merge import Merge
from sartor.techniques.registry import build
from sartor.techniques.stack import Stack
from sartor.training import packing

# PEFT asks transformers by an old name; techniques keep that from users, tests call PEFT themselves
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

QUICK: dict[str, Any] = {"learning_rates": (1e-2,), "epochs": 2, "batch_size": 4, "looks": 1}
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def tagged(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    """Five of colors, two of sizes, one of neither."""
    tags = [("color",)] * 5 + [("size",)] * 2 + [()]
    return tuple(replace(e, tags=tag) for e, tag in zip(examples, tags, strict=True))


TAGGED = TrainingData((), tagged(ALIKE.train), tagged(ALIKE.validation))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(base: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two, of other ranks, scales and layers."""
    folder = tmp_path_factory.mktemp("adapters")
    one = build("lora", {**QUICK, "rank": 3, "alpha": 12, "rank_stabilized": True})
    two = build("lora", {**QUICK, "rank": 2, "target_modules": ("q_proj", "v_proj"), "seed": 1})
    one.fit(base, ALIKE, folder / "one")
    two.fit(base, ALIKE, folder / "two")
    return str(folder / "one"), str(folder / "two")


def merged(base: ModelCard, folder: Path, **settings: Any) -> tuple[Any, Any]:
    technique = build("merge+lora", settings, {"lora": {**QUICK, "rank": 2}})
    made = technique.fit(base, TAGGED, folder)
    return made, technique.load(made)


def test_the_layers_that_an_adapter_names_stand_in_order(
    base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    """So that the same training leaves the same bytes; PEFT lists a set, in any order."""
    made, _ = merged(base, tmp_path, adapters=adapters, weights=(0.5, 0.5))
    for folder in (adapters[0], made.directory):
        named = json.loads((Path(folder) / "adapter_config.json").read_text())["target_modules"]
        assert named == sorted(named)
        assert len(named) > 3, named


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, 0.0)])
def test_a_merge_that_cannot_be_written_is_told_with_its_folder(
    weights: tuple[float, ...], base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "adapter_model.safetensors").mkdir()
    with pytest.raises(DiskError, match=r"cannot write .*: Is a directory.*Free some space"):
        merged(base, tmp_path, adapters=adapters, weights=weights)


def deltas(folder: str | Path) -> dict[str, torch.Tensor]:
    """What an adapter adds to each weight, from its files alone."""
    told = json.loads((Path(folder) / "adapter_config.json").read_text())
    root = told["r"] ** 0.5 if told["use_rslora"] else told["r"]
    tensors = load_file(Path(folder) / "adapter_model.safetensors")
    layers = {name.partition(".lora_")[0] for name in tensors}
    return {
        layer: tensors[f"{layer}.lora_B.weight"]
        @ tensors[f"{layer}.lora_A.weight"]
        * (told["lora_alpha"] / root)
        for layer in layers
    }


def prompt() -> torch.Tensor:
    return torch.tensor([chat.encode(tiny_models.tokenizer(), ALIKE.train[0].input)])


def by_peft(base: ModelCard, folder: str | Path) -> torch.Tensor:
    model = peft.PeftModel.from_pretrained(local.load_network(base, torch.float32), str(folder))
    with torch.no_grad():
        return torch.as_tensor(model(input_ids=prompt()).logits)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(model.inner.network(prompt()).logits)


@pytest.mark.parametrize("how", ["linear", "ties", "dare_linear", "dare_ties"])
def test_one_adapter_with_weight_1_is_that_adapter(
    how: str, base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    _, model = merged(base, tmp_path, adapters=adapters[:1], weights=(1,), how=how)
    torch.testing.assert_close(logits(model), by_peft(base, adapters[0]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1, 1), (0.25, -2)])
def test_a_linear_merge_adds_the_weighted_sum_of_what_each_adds(
    weights: tuple[float, float], base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    merged(base, tmp_path, adapters=adapters, weights=weights)
    one, two = map(deltas, adapters)
    assert two.keys() < one.keys()
    found = deltas(tmp_path)
    assert found.keys() == one.keys()
    for layer, delta in found.items():
        expected = weights[0] * one[layer] + weights[1] * two.get(layer, torch.zeros(()))
        torch.testing.assert_close(delta, expected, atol=1e-6, rtol=1e-4)


def test_a_merge_is_loaded_by_plain_peft_with_the_logits_it_is_served_with(
    base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    for how in ("linear", "ties", "dare_ties"):
        settings = {"adapters": adapters, "weights": (0.5, 1.0), "how": how}
        made, model = merged(base, tmp_path / how, **settings)
        theirs = by_peft(base, tmp_path / how)
        torch.testing.assert_close(logits(model), theirs, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(theirs, by_peft(base, adapters[0]), atol=1e-2)
        tensors = load_file(tmp_path / how / "adapter_model.safetensors")
        assert made.trainable_parameters == sum(t.numel() for t in tensors.values())


def handmade(folder: Path, like: str, left: list[list[float]], right: list[list[float]]) -> str:
    """An adapter of one layer, of which only the upper left corner is not zero."""
    shutil.copytree(like, folder)
    told = json.loads((folder / "adapter_config.json").read_text())
    rank = len(right)
    told |= {"r": rank, "lora_alpha": rank, "use_rslora": False, "target_modules": ["q_proj"]}
    told |= {"layers_to_transform": [0], "layers_pattern": "layers"}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    b, a = torch.zeros(32, rank), torch.zeros(rank, 32)
    b[: len(left)], a[:, : len(right[0])] = torch.tensor(left), torch.tensor(right)
    tensors = {f"{LAYER}.lora_A.weight": a, f"{LAYER}.lora_B.weight": b}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return str(folder)


def test_ties_is_the_formula_of_its_paper(
    base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    identity = [[1.0, 0.0], [0.0, 1.0]]
    # What each adds: [[4, -3], [0.1, 2]] and [[2, 5], [1, 0.2]]; three values of 1024 are kept.
    one = handmade(tmp_path / "one", adapters[0], identity, [[4, -3], [0.1, 2]])
    two = handmade(tmp_path / "two", adapters[0], identity, [[2, 5], [1, 0.2]])
    made = tmp_path / "made"
    merged(base, made, adapters=(one, two), weights=(1, 1), how="ties", density=3.5 / 1024)
    # Trimmed: [[4, -3], [0, 2]] and [[2, 5], [1, 0]]. Signs of the sums: all +. Means over those
    # that agree and are not 0: (4 + 2) / 2, 5 (-3 is left out), 1, 2.
    expected = torch.zeros(32, 32)
    expected[:2, :2] = torch.tensor([[3.0, 5.0], [1.0, 2.0]])
    torch.testing.assert_close(deltas(made)[LAYER], expected, atol=1e-5, rtol=1e-5)


def test_dare_drops_by_the_seed_and_keeps_the_mean(
    base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    ones = [[1.0]] * 32
    one = handmade(tmp_path / "one", adapters[0], ones, [[1.0] * 32])
    wide = handmade(tmp_path / "wide", adapters[0], [[0.0]] * 32, [[0.0] * 32] * 31)
    found = []
    for number, seed in enumerate((0, 0, 1)):
        made = tmp_path / str(number)
        settings = {"how": "dare_linear", "density": 0.25, "weights": (1, 1), "seed": seed}
        merged(base, made, adapters=(one, wide), **settings)
        found.append(deltas(made)[LAYER])
    values = {abs(round(value, 3)) for value in found[0].flatten().tolist()}
    assert values == {0, 4}  # 1 / 0.25
    assert found[0].mean().item() == pytest.approx(1, abs=0.2)
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=0.1)


def validation_loss(base: ModelCard, folder: Path) -> float:
    """Of an answer token, example by example, by PEFT and transformers."""
    model = peft.PeftModel.from_pretrained(local.load_network(base, torch.float32), str(folder))
    tokenizer = tiny_models.tokenizer()
    system = build("lora").system  # type: ignore[attr-defined]
    total, count = 0.0, 0
    for example in ALIKE.validation:
        asked = ({"role": "system", "content": system}, {"role": "user", "content": ""})
        asked[1]["content"] = example.input[-1].content
        request = tokenizer.apply_chat_template(
            list(asked), add_generation_prompt=True, tokenize=False
        )
        start = tokenizer(request, add_special_tokens=False)["input_ids"]
        answer = chat.encode_answer(tokenizer, example.targets[0])
        ids = torch.tensor([[*start, *answer]])
        labels = torch.tensor([[-100] * len(start) + list(answer)])
        with torch.no_grad():
            total += model(input_ids=ids, labels=labels).loss.item() * len(answer)
        count += len(answer)
    return total / count


def test_the_weights_are_those_of_the_lowest_loss_on_validation(
    base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    made, _ = merged(base, tmp_path / "chosen", adapters=adapters)
    tried = [(0.5, 0.5), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)]
    losses = []
    for number, weights in enumerate(tried):
        merged(base, tmp_path / str(number), adapters=adapters, weights=weights)
        losses.append(validation_loss(base, tmp_path / str(number)))
    best = tried[losses.index(min(losses))]
    [note] = made.notes
    told, _, loss = note.rpartition(", validation loss ")
    assert told == f"2 adapters by {best[0]:.3g}, {best[1]:.3g}"
    assert float(loss) == pytest.approx(min(losses), abs=2e-3)
    assert validation_loss(base, tmp_path / "chosen") == pytest.approx(min(losses), abs=1e-4)


def test_an_example_without_a_loss_does_not_choose_the_weights(
    base: ModelCard, adapters: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = min(ALIKE.validation, key=lambda example: example.id).id
    known = packing.answer_loss

    def lost(network: Any, pack: Any) -> Any:
        loss, scored = known(network, pack)
        return loss * (float("nan") if any(e.id == broken for e in pack) else 1.0), scored

    monkeypatch.setattr(merging, "answer_loss", lost)
    heard = Heard()
    with shown_by(heard):
        made, _ = merged(base, tmp_path / "some", adapters=adapters)
    assert [words for words in heard.said if f"{broken} of validation have no number" in words]
    assert "loss inf" not in made.notes[0]
    monkeypatch.setattr(merging, "answer_loss", lambda *_: (torch.tensor(torch.nan), 1))
    with pytest.raises(TrainingError, match="no validation example has a number"):
        merged(base, tmp_path / "none", adapters=adapters)


@pytest.mark.parametrize("how", ["ties", "dare_linear"])
def test_adapters_wider_than_a_layer_are_merged(how: str, base: ModelCard, tmp_path: Path) -> None:
    technique = build(
        "merge+lora", {"by": "seed", "most": 2, "how": how}, {"lora": {**QUICK, "rank": 40}}
    )
    made = technique.fit(base, ALIKE, tmp_path)
    assert technique.load(made).generate([ALIKE.train[0].input], Sampling(max_new_tokens=2))


def test_by_tag_each_example_is_trained_on_once_and_the_rest_together(
    base: ModelCard, tmp_path: Path
) -> None:
    made, _ = merged(base, tmp_path, most=1)
    assert made.notes[0].startswith("2 adapters by ")
    alone = build("lora", {**QUICK, "rank": 2})
    for number, (first, last) in enumerate([(0, 5), (5, 8)]):
        part = replace(
            TAGGED, train=TAGGED.train[first:last], validation=TAGGED.validation[first:last]
        )
        alone.fit(base, part, tmp_path / f"alone{number}")
        found = tmp_path / "parts" / str(number) / "inner" / "adapter_model.safetensors"
        expected = tmp_path / f"alone{number}" / "adapter_model.safetensors"
        assert found.read_bytes() == expected.read_bytes()


def test_a_merge_that_was_stopped_does_not_train_its_parts_again(
    base: ModelCard, tmp_path: Path
) -> None:
    whole, _ = merged(base, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(5)):
        merged(base, tmp_path / "stopped")
    first = tmp_path / "stopped" / "parts" / "0" / "inner" / "adapter_model.safetensors"
    written = first.stat().st_mtime_ns
    assert not (tmp_path / "stopped" / "parts" / "2" / "inner" / "customization.json").exists()
    made, _ = merged(base, tmp_path / "stopped")
    assert made.digest == whole.digest
    assert first.stat().st_mtime_ns == written
    with progress.shown_by(Stopping(0)):  # nothing is left to train
        again, _ = merged(base, tmp_path / "stopped")
    assert again.digest == whole.digest


def test_folders_are_relative_to_the_project_and_candidates_inside_others_are_found(
    base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    shutil.copytree(adapters[0], tmp_path / "made" / "wrapped" / "inner")
    file = parse({"data": {"examples": ["none.jsonl"]}}, "here")
    with named.Names.of(tmp_path, file).in_use():
        merged(base, tmp_path / "out", adapters=("made/wrapped",), weights=(1,))
    assert deltas(tmp_path / "out").keys() == deltas(adapters[0]).keys()


def broken(adapters: tuple[str, str], folder: Path, how: str) -> str:
    shutil.copytree(adapters[0], folder)
    weights = folder / "adapter_model.safetensors"
    told = json.loads((folder / "adapter_config.json").read_text())
    if how == "gone":
        shutil.rmtree(folder)
    elif how == "pickled":
        weights.rename(folder / "adapter_model.bin")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:40])
    elif how == "list":
        told = [told]
    elif how == "no shapes":
        header = json.dumps({f"{LAYER}.lora_A.weight": {"dtype": "F32"}}).encode()
        weights.write_bytes(len(header).to_bytes(8, "little") + header)
    elif how == "flat":
        save_file({name: t.flatten() for name, t in load_file(weights).items()}, weights)
    elif how == "ia3":
        told["peft_type"] = "IA3"
    elif how == "dora":
        told["use_dora"] = True
        tensors = load_file(weights)
        more = {f"{LAYER}.lora_magnitude_vector": torch.ones(32)}
        save_file(tensors | more, weights)
    elif how == "larger":
        tensors = load_file(weights)
        save_file({name: torch.cat([t, t]) for name, t in tensors.items()}, weights)
    elif how == "elsewhere":
        told["base_model_name_or_path"] = str(base_card.THIMBLE)
    if folder.exists():
        (folder / "adapter_config.json").write_text(json.dumps(told))
    return str(folder)


@pytest.mark.parametrize("technique", ["merge", "stack"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("gone", "holds no adapter_config.json. Expected the folder of a LoRA adapter"),
        ("pickled", "holds only adapter_model.bin. .* Convert it once with PEFT"),
        ("cut", "is broken. Copy it again"),
        ("list", "is broken. Copy it again"),
        ("no shapes", "is broken. Copy it again"),
        ("flat", "is of the kind LORA with .*lora_A.weight. Expected LoRA, pairs of thin matrices"),
        ("ia3", "is of the kind IA3. Expected LoRA"),
        ("dora", "is of the kind DORA with .*lora_magnitude_vector"),
        ("larger", "is of another base .*, of size 128, which is .* Give one that was trained on"),
        ("elsewhere", "was trained on .*thimble, whose weights are others"),
    ],
)
def test_what_cannot_be_merged_or_stacked_on_is_refused_before_anything_is_spent(
    technique: str, how: str, said: str, base: ModelCard, adapters: tuple[str, str], tmp_path: Path
) -> None:
    folder = broken(adapters, tmp_path / "adapter", how)
    settings: dict[str, Any] = {"adapters": [folder]} if technique == "merge" else {"on": folder}
    made: Any = build(technique, settings)
    with pytest.raises(ModelError, match=said):
        made.refuse(base)
    with pytest.raises(ModelError, match=said):
        made.fit(base, TAGGED, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_adapters_on_experts_are_not_merged_and_that_is_said_before_training(
    tmp_path: Path,
) -> None:
    base = tiny_models.save(tmp_path / "base", "mixtral")
    technique = Merge(by="seed", inner=LoRA(rank=2))
    for ask in (technique.refuse, lambda card: technique.fit(card, TAGGED, tmp_path / "made")):
        with pytest.raises(TrainingError, match=r"mlp.experts holds all its .* Adapt layers only"):
            ask(base)
    assert not (tmp_path / "made").exists()
    Merge(by="seed", inner=LoRA(rank=2, target_modules=("q_proj", "v_proj"))).refuse(base)
    one = LoRA(rank=2, epochs=1, learning_rates=(0.01,)).fit(base, TAGGED, tmp_path / "one")
    with pytest.raises(ModelError, match=r"is on model.layers.0.mlp.experts, .* on layers only"):
        Merge(adapters=(one.directory, one.directory)).refuse(base)
    on = Stack(on=one.directory, inner=LoRA(rank=2, epochs=1, learning_rates=(1e-9,)))
    on.refuse(base)
    model: Any = on.load(on.fit(base, TAGGED, tmp_path / "on"))
    folded: Any = LoRA(rank=2).load(one)
    ids = torch.tensor([[5, 9, 4, 7]])
    with torch.no_grad():
        ours, theirs = (m.inner.network(ids).logits for m in (model, folded))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_data_without_parts_are_refused(base: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'1 kinds of tags. .*set `by = "seed"`'):
        build("merge").fit(base, ALIKE, tmp_path)
    with pytest.raises(DataError, match="2 weights for 3 adapters"):
        build("merge", {"weights": [1, 1]}).fit(base, TAGGED, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("merge+ia3", {}, "ia3 inside it makes no plain LoRA adapter"),
        ("merge+rag+lora", {}, "rag inside it .*'rag\\+merge\\+lora'"),
        ("merge+lora", {"inner": {"dora": True}}, "dora inside it"),
        ("merge", {"density": 1}, "density is 1"),
        ("merge", {"by": "seed", "most": 1}, "most is 1"),
        ("merge", {"adapters": ["a"], "weights": [1, 2]}, "2 weights for 1 adapters"),
        ("merge", {"how": "svd"}, "how is 'svd'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        build(name, settings)
