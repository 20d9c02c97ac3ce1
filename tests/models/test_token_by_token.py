"""Networks that cannot be run token by token are refused when they are loaded, with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests import tiny_models

from sartor.errors import ModelError
from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.models.token_by_token import refuse_unable

CARD = ModelCard("odd", "/odd", "", "", 0, 256)


class Odd(torch.nn.Module):
    """A network that brings an attention of its own, and does something else where it is run on."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inside: Any = tiny_models.network("gptj")
        self.how = how
        self.device = torch.device("cpu")

    def forward(self, **given: Any) -> Any:
        given_back = self.inside(**given)
        if given.get("past_key_values") is None:
            if self.how == "no cache" and given["use_cache"]:
                return SimpleNamespace(logits=given_back.logits)
            return given_back
        if self.how == "other tokens":
            given_back.logits = -given_back.logits
        if self.how == "fails":
            raise RuntimeError("The size of tensor a (35) must match tensor b (33).\nAt length.")
        return given_back


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fails", r"run token by token \(The size .* b \(33\)\), which sartor needs to generate"),
        ("other tokens", "it gives other tokens one by one than at once"),
        ("no cache", "past_key_values"),
    ],
)
def test_it_is_said_what_cannot_be_run(how: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        refuse_unable(CARD, Odd(how))
    refuse_unable(CARD, Odd(""))


def test_an_encoder_is_refused_and_its_decoding_kin_is_not() -> None:
    from transformers import BertConfig, BertLMHeadModel

    sizes: dict[str, Any] = {"vocab_size": 90, "hidden_size": 16, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 16}
    with pytest.raises(ModelError, match=r"a BertLMHeadModel is an encoder, .* Give a causal"):
        refuse_unable(CARD, BertLMHeadModel(BertConfig(**sizes)))
    refuse_unable(CARD, BertLMHeadModel(BertConfig(**sizes, is_decoder=True)))
    refuse_unable(CARD, tiny_models.network("llama"))


@pytest.mark.parametrize(
    ("architecture", "differing", "said"),
    [
        ("starcoder2", {"hidden_size": 36}, "Starcoder2ForCausalLM .* cannot be run: The size of"),
        ("mixtral", {"num_experts_per_tok": 9}, "MixtralForCausalLM .* cannot be run: selected"),
    ],
)
def test_sizes_that_do_not_go_together_are_told_when_it_is_loaded(
    architecture: str, differing: dict[str, Any], said: str, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(architecture, **{**tiny_models.SHAPE, **differing})
    config.vocab_size = 90
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    card = replace(CARD, path=str(tmp_path))
    with pytest.raises(ModelError, match=rf"base 'odd': a {said}.*give another base"):
        local.load_network(card, torch.float32)


def test_positions_that_reading_and_writing_count_otherwise_are_refused(tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path / "base", "roberta")
    with pytest.raises(ModelError, match=r"a RobertaForCausalLM counts .* Give a causal language"):
        local.load_network(card, torch.float32)


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_memory_that_runs_out_says_nothing_of_the_network(kind: type[Exception]) -> None:
    network = Odd("")

    def full(**_: Any) -> Any:
        raise kind("CUDA out of memory")

    network.forward = full  # type: ignore[method-assign]
    with pytest.raises(kind, match="out of memory"):
        refuse_unable(CARD, network)


@pytest.mark.parametrize("architecture", ["bloom", "mpt", "gptj", "falcon", "gpt_neo", "qwen3_5"])
def test_those_that_can_are_loaded_in_bfloat16_too(architecture: str, tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path / "base", architecture)
    for dtype in (torch.float32, torch.bfloat16):
        assert local.load_network(replace(card, name=architecture), dtype).dtype == dtype
