"""What LoRA's settings and the smaller adapters do: what is trained, kept, served and refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from tests import tiny_models
from tests.training.test_loop import ALIKE, full_disk

from sartor.errors import DiskError, ModelError, SettingError, TrainingError
from sartor.models import base_card, chat, local, outline
from sartor.models.language_model import ModelCard, Sampling
from sartor.techniques import experts, layers, weights
from sartor.techniques.full import FullFineTuning
from sartor.techniques.ia3 import IA3
from sartor.techniques.lora import LoRA
from sartor.techniques.merge import Merge
from sartor.techniques.prefix_tuning import PrefixTuning
from sartor.techniques.prompt_tuning import PromptTuning
from sartor.techniques.trained import with_instruction
from sartor.techniques.zero_shot import with_system
from sartor.training.packing import answer_loss, encode

# PEFT asks transformers by an old name; techniques keep that from users, tests call PEFT themselves
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

QUICK: dict[str, Any] = {"learning_rates": (4e-3,), "epochs": 4, "batch_size": 4, "looks": 2}
GREEDY = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


def served_loss(technique: Any, made: Any, base: ModelCard) -> float:
    model = technique.load(made).inner
    held = with_instruction(ALIKE, technique.system).validation
    encoded = encode(tiny_models.tokenizer(), held, base.context)
    with torch.no_grad():
        loss, scored = answer_loss(model.network, encoded, model.virtual)
    return loss.item() / scored


def trained_loss(made: Any) -> float:
    [note] = [note for note in made.notes if note.startswith("validation loss")]
    return float(note.removeprefix("validation loss "))


def prompt() -> torch.Tensor:
    asked = with_system(ALIKE.train[0].input, LoRA().system)
    return torch.tensor([chat.encode(tiny_models.tokenizer(), asked)])


@pytest.mark.parametrize(
    "settings",
    [
        {"rank_stabilized": True}, {"dora": True}, {"plus_ratio": 8.0}, {"initialization": "eva"},
        {"initialization": "pissa"}, {"ranks": {"v_proj": 2}}, {"upper_layers": 1},
        {"dora": True, "rank_stabilized": True, "ranks": {"down_proj": 3}},
    ],
    ids=lambda settings: "+".join(settings),
)  # fmt: skip
def test_every_kind_of_adapter_learns_and_is_served_as_it_was_trained(
    settings: dict[str, Any], base: ModelCard, tmp_path: Path
) -> None:
    technique = LoRA(rank=4, **settings, **QUICK)
    made = technique.fit(base, ALIKE, tmp_path / "made")
    loss = served_loss(technique, made, base)
    assert loss == pytest.approx(trained_loss(made), rel=0.03)
    idle = replace(technique, learning_rates=(1e-9,))
    assert loss < 0.9 * trained_loss(idle.fit(base, ALIKE, tmp_path / "idle"))
    beside = peft.PeftModel.from_pretrained(local.load_network(base, torch.float32), made.directory)
    with torch.no_grad():
        theirs = beside(input_ids=prompt()).logits
        ours = technique.load(made).inner.network(prompt()).logits  # type: ignore[attr-defined]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_dora_leaves_pruned_heads_as_they_were_until_training_wakes_them(tmp_path: Path) -> None:
    base = pruned(tmp_path / "base")
    technique = LoRA(rank=4, dora=True, **QUICK)
    idle = replace(technique, learning_rates=(1e-9,)).fit(base, ALIKE, tmp_path / "idle")
    plain = replace(technique, dora=False, learning_rates=(1e-9,))
    untouched = trained_loss(plain.fit(base, ALIKE, tmp_path / "plain"))
    assert trained_loss(idle) == pytest.approx(untouched, rel=1e-2)
    made = technique.fit(base, ALIKE, tmp_path / "made")
    loss = served_loss(technique, made, base)
    assert loss == pytest.approx(trained_loss(made), rel=0.03)
    assert loss < 0.9 * untouched
    beside = peft.PeftModel.from_pretrained(local.load_network(base, torch.float32), made.directory)
    with torch.no_grad():
        assert bool(beside(input_ids=prompt()).logits.isfinite().all())


def pruned(folder: Path) -> ModelCard:
    """A base one of whose heads has neither queries, keys nor values."""
    network = tiny_models.network()
    attention = network.model.layers[0].self_attn
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight.data[:4] = 0
    network.save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
    return base_card.describe(str(folder))


def test_ranks_of_some_layers_differ_and_a_name_that_fits_none_is_refused(
    base: ModelCard, tmp_path: Path
) -> None:
    LoRA(rank=4, ranks={"v_proj": 2}, **QUICK).fit(base, ALIKE, tmp_path / "made")
    kept = load_file(tmp_path / "made" / "adapter_model.safetensors")
    ranks = {n.split(".")[-3]: len(t) for n, t in kept.items() if "lora_A" in n}
    assert ranks["v_proj"] == 2
    assert ranks["q_proj"] == 4
    with pytest.raises(TrainingError, match=r"ranks names 'v_prj'.*Known: .*v_proj"):
        LoRA(ranks={"v_prj": 2}, **QUICK).fit(base, ALIKE, tmp_path / "other")


def test_only_the_upper_layers_are_adapted_or_trained(base: ModelCard, tmp_path: Path) -> None:
    LoRA(rank=2, upper_layers=1, **QUICK).fit(base, ALIKE, tmp_path / "lora")
    kept = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    assert kept
    assert all(".layers.1." in name for name in kept)
    FullFineTuning(upper_layers=1, **QUICK).fit(base, ALIKE, tmp_path / "full")
    before = load_file(Path(base.path) / "model.safetensors")
    after = load_file(tmp_path / "full" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".layers.1." in name or name == "model.norm.weight" for name in changed - HEAD)
    with pytest.raises(TrainingError, match="upper_layers is 9, but the base has 2 layers"):
        FullFineTuning(upper_layers=9, **QUICK).fit(base, ALIKE, tmp_path / "many")


HEAD = {"lm_head.weight"}


def test_a_full_disk_is_told_before_pissa_trains(base: ModelCard, tmp_path: Path) -> None:
    with full_disk(100), pytest.raises(DiskError, match=r"cannot write .*initial: File too large"):
        LoRA(rank=4, initialization="pissa", **QUICK).fit(base, ALIKE, tmp_path)


def test_pissa_keeps_a_plain_adapter_of_twice_the_rank(base: ModelCard, tmp_path: Path) -> None:
    technique = LoRA(rank=4, initialization="pissa", **QUICK)
    technique.fit(base, ALIKE, tmp_path / "made")
    kept = load_file(tmp_path / "made" / "adapter_model.safetensors")
    assert {len(tensor) for name, tensor in kept.items() if "lora_A" in name} == {8}
    assert not (tmp_path / "made" / "initial").exists()


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_names_that_fit_a_layer_the_longer_gives_its_rank(
    turned: bool, base: ModelCard, tmp_path: Path
) -> None:
    named = [("q_proj", 5), ("layers.0.self_attn.q_proj", 3), ("v_proj", 7)]
    technique = LoRA(rank=4, ranks=dict(named[::-1] if turned else named), **QUICK)
    made = technique.fit(base, ALIKE, tmp_path)
    kept = load_file(tmp_path / "adapter_model.safetensors")
    ranks = {n.partition(".lora_")[0]: len(t) for n, t in kept.items() if "lora_A" in n}
    assert {rank for name, rank in ranks.items() if name.endswith("0.self_attn.q_proj")} == {3}
    assert {rank for name, rank in ranks.items() if name.endswith("1.self_attn.q_proj")} == {5}
    assert technique.trainable(outline.outline(base)) == made.trainable_parameters
    technique.load(made)  # PEFT reads the names in another order


def test_eva_gives_ranks_to_where_they_explain_most(base: ModelCard, tmp_path: Path) -> None:
    LoRA(rank=4, initialization="eva", **QUICK).fit(base, ALIKE, tmp_path / "made")
    kept = load_file(tmp_path / "made" / "adapter_model.safetensors")
    assert len({len(tensor) for name, tensor in kept.items() if "lora_A" in name}) > 1


def test_eva_looks_at_blocks_that_lay_all_rows_end_to_end(tmp_path: Path) -> None:
    base = tiny_models.save(tmp_path / "base", "opt")
    technique = LoRA(rank=4, initialization="eva", **QUICK)
    made = technique.fit(base, ALIKE, tmp_path / "made")
    assert served_loss(technique, made, base) == pytest.approx(trained_loss(made), rel=0.03)
    kept = load_file(tmp_path / "made" / "adapter_model.safetensors")
    assert any(".fc1.lora_A" in name for name in kept)


@pytest.mark.parametrize(
    ("settings", "train", "said"),
    [
        ({"rank": 16}, 8, r"among 64 directions, and .* takes only 32 inputs\. Lower the rank"),
        ({"rank": 2, "ranks": {"down_proj": 16}}, 8, "among 64 directions"),
        ({"rank": 8, "system": ""}, 1, r"1 training prompts have \d+ tokens, and 32 are needed"),
    ],
)
def test_eva_refuses_what_it_would_look_at_for_ever(
    settings: dict[str, Any], train: int, said: str, base: ModelCard, tmp_path: Path
) -> None:
    few = replace(ALIKE, train=ALIKE.train[:train])
    with pytest.raises(TrainingError, match=said):
        LoRA(initialization="eva", **settings, **QUICK).fit(base, few, tmp_path / "made")


def adapted(architecture: str) -> dict[str, int]:
    """How many matrices were made for each kind of layer that LoRA adapts."""
    network = tiny_models.network(architecture)
    made = weights.adapted("lora", network, LoRA(rank=2).configured(network))
    names = [n.partition(".lora_A")[0] for n in made.parameters if ".lora_A." in n]
    return Counter(experts.module_of(name).split(".", 3)[-1] for name in names)


def test_routers_that_give_more_than_one_tensor_get_no_adapter(tmp_path: Path) -> None:
    assert set(adapted("phimoe")) == {f"self_attn.{part}_proj" for part in "qkvo"}
    base = tiny_models.save(tmp_path / "base", "phimoe")
    technique = LoRA(rank=2, **QUICK)
    made = technique.fit(base, ALIKE, tmp_path / "made")
    assert served_loss(technique, made, base) == pytest.approx(trained_loss(made), rel=0.03)


def test_layers_whose_weight_kernels_read_themselves_get_no_adapter() -> None:
    found = adapted("falcon_h1")
    assert found["mamba.in_proj"] == found["self_attn.o_proj"] == found["feed_forward.up_proj"] == 2
    assert "mamba.out_proj" not in found


def test_experts_get_adapters_where_peft_knows_them() -> None:
    mixtral, deepseek, gpt_oss = map(adapted, ("mixtral", "deepseek_v3", "gpt_oss"))
    assert mixtral["mlp.experts"] == 4  # two tensors in each of two layers
    assert mixtral["mlp.gate"] == 2
    assert deepseek["mlp.experts"] == 2  # the first layer is dense
    assert deepseek["mlp.shared_experts.up_proj"] == deepseek["mlp.up_proj"] == 1
    assert set(gpt_oss) == {f"self_attn.{part}_proj" for part in "qkvo"}


BESIDE = (
    "afmoe",
    "deepseek_v2",
    "deepseek_v3",
    "ernie4_5_moe",
    "llama4",
    "qwen2_moe",
    "qwen3_next",
)
"""Architectures with shared experts, dense blocks or gates that go by the experts' names."""


@pytest.mark.parametrize("architecture", BESIDE)
def test_every_layer_beside_experts_gets_an_adapter_of_a_layer(architecture: str) -> None:
    network = tiny_models.network(architecture)
    expected = set(layers.linear_layers(layers.blocks(network)))
    expected -= set(layers.not_to_adapt(network))
    model = weights.adapted("lora", network, LoRA(rank=2).configured(network)).model
    found = {
        name.removeprefix("base_model.model.")
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.Linear)
    }
    assert any("shared_expert" in name for name in expected)
    assert found == expected


@pytest.mark.parametrize("architecture", BESIDE)
def test_adapters_beside_experts_are_served_as_they_were_trained(
    architecture: str, tmp_path: Path
) -> None:
    base = tiny_models.save(tmp_path / "base", architecture)
    technique = LoRA(rank=4, ranks={"down_proj": 2}, **QUICK)
    made = technique.fit(base, ALIKE, tmp_path / "made")
    assert served_loss(technique, made, base) == pytest.approx(trained_loss(made), rel=0.03)
    kept = load_file(tmp_path / "made" / "adapter_model.safetensors")
    ranks = {n: len(t) for n, t in kept.items() if "lora_A" in n and "shared_expert" in n}
    assert {r for n, r in ranks.items() if ".down_proj." in n} == {2}
    assert {r for n, r in ranks.items() if ".up_proj." in n} == {4}
    moved = [t for n, t in kept.items() if "lora_B" in n and "shared_expert" in n]
    assert all(tensor.any() for tensor in moved)


def test_upper_layers_adapt_no_experts_of_lower_ones_and_a_target_with_a_dot_is_that_layer_alone(
    tmp_path: Path,
) -> None:
    network = tiny_models.network("deepseek_v2")
    technique = LoRA(rank=2, upper_layers=1)
    upper = weights.adapted("lora", network, technique.configured(network)).parameters
    assert all(".layers.1." in name for name in upper)
    assert any(".shared_experts." in name for name in upper)
    assert not any(".experts." in name for name in upper)
    base = tiny_models.save(tmp_path / "base", "deepseek_v2")
    alone = LoRA(rank=2, target_modules=("shared_experts.up_proj",), **QUICK)
    made = alone.fit(base, ALIKE, tmp_path / "made")
    assert served_loss(alone, made, base) == pytest.approx(trained_loss(made), rel=0.03)
    kept = load_file(tmp_path / "made" / "adapter_model.safetensors")
    assert all(".shared_experts.up_proj.lora_" in name for name in kept)
    assert len(kept) == 2
    for begin in ("pissa", "eva"):
        with pytest.raises(TrainingError, match=r"up_proj goes by the name of.* Adapt layers only"):
            replace(alone, initialization=begin).refuse(base)
    with pytest.raises(TrainingError, match=r"merge: .*up_proj goes by the name of experts"):
        Merge(inner=alone).refuse(base)
    with pytest.raises(ModelError, match=r"on .*up_proj\.weight by the name of its weight"):
        Merge(adapters=(made.directory, made.directory)).refuse(base)


def test_eva_and_pissa_on_experts_are_refused_and_work_on_layers(tmp_path: Path) -> None:
    base = tiny_models.save(tmp_path / "base", "mixtral")
    eva, pissa = LoRA(rank=2, initialization="eva"), LoRA(rank=2, initialization="pissa")
    with pytest.raises(TrainingError, match=r"mlp.experts holds all its .* Adapt layers only"):
        eva.fit(base, ALIKE, tmp_path / "eva")
    with pytest.raises(TrainingError, match=r"mlp.experts holds all its .* Adapt layers only"):
        pissa.fit(base, ALIKE, tmp_path / "pissa")
    for technique in (eva, pissa):
        layered = replace(technique, target_modules=("q_proj", "v_proj"), **QUICK)
        made = layered.fit(base, ALIKE, tmp_path / technique.initialization)
        assert served_loss(layered, made, base) == pytest.approx(trained_loss(made), rel=0.03)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ranks": {"v_proj": 0}}, "v_proj is 0; it must be 1 or more"),
        ({"plus_ratio": 0}, "plus_ratio is 0.0; it must be above 0"),
        ({"upper_layers": 0}, "upper_layers is 0; it must be 1 or more"),
        ({"upper_layers": 1, "target_modules": "q_proj"}, "are both given. Give one"),
        ({"initialization": "pissa", "dora": True}, "goes with none of dora"),
        ({"initialization": "eva", "quantize": "4bit"}, "Leave one of the two out"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        LoRA(**settings)


@pytest.mark.skipif(local.device().type == "cuda", reason="this machine has a GPU")
def test_four_bits_are_refused_on_a_cpu_before_anything_is_loaded(
    base: ModelCard, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"needs an NVIDIA GPU.*Leave quantize out"):
        LoRA(quantize="4bit").fit(replace(base, path="/nowhere"), ALIKE, tmp_path)


@pytest.mark.reference
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_peft_reads_a_prefix_and_says_the_same(architecture: str, tmp_path: Path) -> None:
    base = tiny_models.save(tmp_path / "base", architecture)
    technique = PrefixTuning(virtual_tokens=5, **{**QUICK, "learning_rates": (3e-2,)})
    made = technique.fit(base, ALIKE, tmp_path / "made")
    model: Any = technique.load(made)
    [completion] = model.generate([ALIKE.train[0].input], GREEDY)
    assert completion.prompt_tokens == prompt().shape[1] + 5
    theirs = peft.PeftModel.from_pretrained(local.load_network(base, torch.float32), made.directory)
    with torch.no_grad():
        logits = theirs(input_ids=prompt(), attention_mask=torch.ones_like(prompt())).logits
    said = tiny_models.tokenizer().decode([int(logits[0, -1].argmax())])
    assert completion.text.startswith(said.strip())
    assert completion.text


def test_a_prefix_is_refused_where_the_cache_is_another_thing(tmp_path: Path) -> None:
    base = tiny_models.save(tmp_path / "base", "megatron-bert")
    said = "prefix-tuning: a MegatronBertForCausalLM keeps something else than keys and values"
    with pytest.raises(TrainingError, match=said):
        PrefixTuning(virtual_tokens=5, **QUICK).fit(base, ALIKE, tmp_path / "made")


def test_a_base_that_calls_its_head_the_decoder_is_trained(tmp_path: Path) -> None:
    base = tiny_models.save(tmp_path / "base", "modernbert-decoder")
    technique = LoRA(rank=2, **QUICK)
    made = technique.fit(base, ALIKE, tmp_path / "made")
    assert served_loss(technique, made, base) == pytest.approx(trained_loss(made), rel=0.03)


@pytest.mark.parametrize("architecture", ["llama", "bloom", "mpt", "falcon", "deepseek_v3"])
def test_a_prefix_answers_alike_alone_together_and_streamed(
    architecture: str, tmp_path: Path
) -> None:
    base = tiny_models.save(tmp_path / "base", architecture)
    technique = PrefixTuning(virtual_tokens=5, **{**QUICK, "learning_rates": (3e-2,)})
    model: Any = technique.load(technique.fit(base, ALIKE, tmp_path / "made"))
    requests = [example.input for example in ALIKE.train[:4]]
    together = [completion.text for completion in model.generate(requests, GREEDY)]
    assert together == [model.generate([request], GREEDY)[0].text for request in requests]
    *_, streamed = model.stream(requests[0], GREEDY)
    assert streamed.text == together[0]


def test_a_prefix_learns_more_than_it_began_with(base: ModelCard, tmp_path: Path) -> None:
    quick = {**QUICK, "epochs": 12, "learning_rates": (5e-2,)}
    for technique in (PrefixTuning(virtual_tokens=6, **quick), IA3(**quick), PromptTuning(**quick)):
        idle = replace(technique, learning_rates=(1e-9,))
        began = trained_loss(idle.fit(base, ALIKE, tmp_path / f"idle-{technique.name}"))
        made = technique.fit(base, ALIKE, tmp_path / technique.name)
        assert trained_loss(made) < 0.98 * began, technique.name
        assert served_loss(technique, made, base) == pytest.approx(trained_loss(made), rel=0.03)


def test_gradients_of_a_prefix_in_a_pack_are_those_of_a_padded_batch() -> None:
    from sartor.models import prefix
    from sartor.training.packed_attention import is_packed, use_packed_attention
    from sartor.training.packing import Encoded

    pack = [
        Encoded("a", (5, 3, 4, 9, 8, 7), 3), Encoded("b", (5, 3, 8, 6), 2),
        Encoded("c", tuple(range(20, 60)), 30),
    ]  # fmt: skip
    losses, gradients = [], []
    for packed in (True, False):
        network = tiny_models.network("llama").requires_grad_(False)
        first = prefix.of_tokens(network, [9, 8, 7])
        pairs = tuple(
            (k.clone().requires_grad_(), v.clone().requires_grad_()) for k, v in first.layers
        )
        made = prefix.Prefix(pairs)
        if packed:
            assert use_packed_attention(network, made)
        assert is_packed(network) is packed
        loss, _ = answer_loss(network, pack, made)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        found = [
            tensor.grad.flatten() for pair in pairs for tensor in pair if tensor.grad is not None
        ]
        gradients.append(torch.cat(found))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert gradients[0].norm() > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)
