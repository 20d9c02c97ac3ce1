"""The catalogue of foundation models, and the shortlist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from transformers import (
    BloomConfig,
    DeepseekV3Config,
    FalconConfig,
    Gemma4TextConfig,
    GPT2Config,
    LlamaConfig,
    MptConfig,
    T5Config,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from typer.testing import CliRunner

from sartor.cli import app
from sartor.errors import ModelError, SettingError
from sartor.models.catalogue import (
    FILE,
    Latent,
    Shape,
    Wanted,
    catalogue,
    catalogued,
    shortlist,
    size,
)
from sartor.models.outline import known, of_shape

FAMILIES = {
    "Llama 2", "Llama 3", "BLOOM", "Falcon", "MPT", "GPT-2", "GPT-J", "GPT-NeoX", "gpt-oss",
    "Mistral", "Mixtral", "Qwen 2", "Qwen 3", "Gemma", "Phi", "OLMo", "SmolLM", "Granite",
    "DeepSeek",
}  # fmt: skip


def test_every_family_is_there_and_every_model_once() -> None:
    models = catalogue()
    assert {model.family for model in models} >= FAMILIES
    assert len({model.id for model in models}) == len(models)


def test_transformers_knows_every_architecture() -> None:
    known = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    assert {model.architecture for model in catalogue()} <= known


def test_figures_are_of_a_language_model() -> None:
    for model in catalogue():
        assert 1e8 <= model.parameters <= 1e12
        assert 1024 <= model.context <= 1 << 20
        assert model.active is None or model.active < model.parameters
        assert model.memory("full") > model.memory("lora") > model.memory("inference")


def test_shapes_have_as_many_parameters_as_their_authors_say() -> None:
    shapes = [(model, model.shape) for model in catalogue() if model.shape is not None]
    assert len(shapes) > 30
    for model, shape in shapes:
        assert shape.parameters() == pytest.approx(model.parameters, rel=0.02), model.id


def test_embeddings_that_an_architecture_always_ties_are_counted_once() -> None:
    by_kind = {"FalconForCausalLM": FalconConfig, "BloomForCausalLM": BloomConfig}
    by_kind |= {"MptForCausalLM": MptConfig, "GPT2LMHeadModel": GPT2Config}
    found = [m for m in catalogue() if m.architecture in by_kind]  # whose files do not say
    assert len(found) > 3
    for model in found:
        assert model.shape is not None
        assert model.shape.tied == by_kind[model.architecture]().tie_word_embeddings, model.id


def test_a_shape_is_the_outline_that_transformers_makes_of_the_same_sizes(tmp_path: Path) -> None:
    shape = Shape(2, 64, 4, 2, 16, 128, 400, tied=True, gated=True)
    LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=400, tie_word_embeddings=True,
    ).save_pretrained(tmp_path)  # fmt: skip
    card, found, active = known(str(tmp_path))
    mine = of_shape(shape)
    assert (found.widths, found.cached, found.layers) == (mine.widths, mine.cached, mine.layers)
    assert shape.parameters() == pytest.approx(card.parameters, rel=0.01)
    assert active == card.parameters


def test_latent_attention_shared_experts_and_dense_blocks_are_in_a_shape(tmp_path: Path) -> None:
    latent = Latent(query_rank=24, rank=16, turned_width=8, value_width=12)
    shape = Shape(
        3, 64, 4, 4, 24, 32, 400, tied=False, gated=True, experts=8, experts_used=2,
        shared_experts=1, dense_layers=1, dense_inner=96, latent=latent,
    )  # fmt: skip
    DeepseekV3Config(
        hidden_size=64, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, vocab_size=400, q_lora_rank=24,
        kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=12, n_shared_experts=1,
        n_routed_experts=8, num_experts_per_tok=2, first_k_dense_replace=1, n_group=1, topk_group=1,
        tie_word_embeddings=False,
    ).save_pretrained(tmp_path)  # fmt: skip
    card, found, _ = known(str(tmp_path))
    assert found.cached == of_shape(shape).cached == 3 * 4 * (24 + 12)
    assert shape.parameters() == pytest.approx(card.parameters, rel=0.02)
    named = {name.rpartition(".")[2] for name, _ in of_shape(shape).linears}
    assert {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"} < named


def test_what_layers_whose_heads_differ_in_width_keep_is_added_up(tmp_path: Path) -> None:
    Gemma4TextConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, global_head_dim=12, vocab_size=400,
        hidden_size_per_layer_input=0, num_kv_shared_layers=0,
        layer_types=["sliding_attention", "full_attention"],
    ).save_pretrained(tmp_path)  # fmt: skip
    _, found, _ = known(str(tmp_path))
    assert (found.heads, found.cached) == (4, 2 * (8 + 8) + 2 * (12 + 12))


def test_a_model_that_does_not_go_on_with_a_text_is_told_in_a_line(tmp_path: Path) -> None:
    T5Config(vocab_size=400).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="makes no causal language model") as told:
        known(str(tmp_path))
    assert len(str(told.value)) < 400 + len(str(tmp_path))


def test_a_catalogued_model_is_known_without_its_files_and_one_without_sizes_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    card, shape, active = known("Qwen/Qwen3-30B-A3B@abc")
    assert (card.parameters, active, shape.layers) == (30_500_000_000, 3.3e9, 48)
    assert catalogued("nobody/nothing") is None
    unsized = re.sub(r"^shape = .*\n", "", FILE.read_text("utf-8"), flags=re.MULTILINE)
    (tmp_path / "unsized.toml").write_text(unsized, "utf-8")
    monkeypatch.setattr("sartor.models.catalogue.FILE", tmp_path / "unsized.toml")
    with pytest.raises(ModelError, match="does not have the sizes of its layers"):
        known("deepseek-ai/DeepSeek-V3")


@pytest.mark.parametrize("wanted", [Wanted(max_memory=0.0), Wanted(context=-1)])
def test_bounds_that_mean_nothing_are_refused(wanted: Wanted) -> None:
    with pytest.raises(SettingError, match="memory must be above 0, and context 0 or more"):
        shortlist(wanted)


def test_a_shortlist_is_what_was_asked_for_and_names_a_reason_for_all_others() -> None:
    wanted = Wanted(24e9, "permissive", 8000, "lora", chat=True)
    found = shortlist(wanted)
    assert len(found.fit) + len(found.left_out) == len(catalogue())
    for model in found.fit:
        assert model.memory("lora") <= 24e9
        assert (model.license, model.chat, model.context >= 8000) == ("permissive", True, True)
    reasons = {model.id: " ".join(why) for model, why in found.left_out}
    assert "takes about" in reasons["Qwen/Qwen3-30B-A3B"]
    assert "Llama 3.1 Community License" in reasons["meta-llama/Llama-3.1-8B-Instruct"]
    assert "reads 4,096 tokens, not 8,000" in reasons["allenai/OLMo-2-1124-7B-Instruct"]
    assert "no chat template" in reasons["EleutherAI/gpt-j-6b"]
    assert [m.parameters for m in found.fit] == sorted(m.parameters for m in found.fit)


def test_a_reason_shows_the_difference_it_is_for() -> None:
    found = shortlist(Wanted(max_memory=24e9), memory=lambda model, use: 24.004e9)
    reasons = {why for _, whys in found.left_out for why in whys}
    assert reasons == {"inference takes about 24.004 GB, not 24"}


@pytest.mark.parametrize(
    ("text", "expected"), [("24GB", 24e9), ("800 mb", 8e8), ("1.5GiB", 1.5 * 2**30), ("7", 7.0)]
)
def test_an_amount_of_memory(text: str, expected: float) -> None:
    assert size(text) == expected


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(SettingError, match="'much' is no amount of memory"):
        size("much")
    with pytest.raises(SettingError, match=r"is 24 bytes.* Give the unit too: 24GB"):
        shortlist(Wanted(max_memory=size("24")))
    with pytest.raises(SettingError, match="no use 'chess'; known: inference"):
        shortlist(Wanted(use="chess"))
    with pytest.raises(SettingError, match="kind of license 'free'"):
        shortlist(Wanted(license="free"))


def test_the_verb_speaks_json() -> None:
    words = ["models", "--max-memory", "4GB", "--for", "lora", "--license", "permissive", "--json"]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0
    found = json.loads(told.stdout)
    assert all(model["memory_bytes"] <= 4e9 for model in found["models"])
    assert found["left_out"]
