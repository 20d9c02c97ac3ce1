"""What LoRA, P-tuning and full fine-tuning leave behind, and whether others can use it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from tests import tiny_models
from tests.training.test_loop import ALIKE

from sartor.errors import TrainingError
from sartor.models import base_card, chat, local
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.techniques.full import FullFineTuning
from sartor.techniques.lora import LoRA
from sartor.techniques.p_tuning import PTuning
from sartor.techniques.zero_shot import with_system

# PEFT asks transformers by an old name; `LoRA` keeps that from users, tests call PEFT themselves
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

QUICK: dict[str, Any] = {"learning_rates": (4e-3,), "epochs": 4, "batch_size": 4, "looks": 2}
ASKED = ALIKE.train[0].input
GREEDY = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


def prompt() -> torch.Tensor:
    return torch.tensor([chat.encode(tiny_models.tokenizer(), with_system(ASKED, LoRA().system))])


def first(model: LanguageModel) -> Completion:
    [completion] = model.generate([ASKED], GREEDY)
    return completion


def network_of(model: Any) -> Any:
    return model.inner.network


@pytest.mark.reference
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "gpt_neo"])
def test_adapters_folded_in_give_what_peft_gives_with_them_beside(
    architecture: str, tmp_path: Path
) -> None:
    base = tiny_models.save(tmp_path / "base", architecture)
    technique = LoRA(rank=4, **QUICK)
    made = technique.fit(base, ALIKE, tmp_path / "made")
    served = network_of(technique.load(made))
    assert not [n for n, _ in served.named_parameters() if "lora" in n]
    plain = local.load_network(base, torch.float32)
    with torch.no_grad():
        untrained = plain(prompt()).logits
        beside = peft.PeftModel.from_pretrained(plain, made.directory).eval()
        unmerged = beside(prompt()).logits
        merged = served(prompt()).logits
        half = beside.to(torch.bfloat16)(prompt()).logits.float()
    assert (unmerged - untrained).abs().max() > 0.1, "nothing was learned"
    torch.testing.assert_close(merged, unmerged, rtol=1e-4, atol=1e-4)
    scale = unmerged.abs().max()
    assert (half - merged).abs().mean() < 0.02 * scale, "trained in bfloat16, served in float32"


def test_what_was_measured_in_training_holds_in_service(base: ModelCard, tmp_path: Path) -> None:
    """The loss on validation, as the trained model was left, is that of the served one."""
    from sartor.techniques.trained import with_instruction
    from sartor.training.packing import answer_loss, encode

    for technique in (LoRA(rank=4, **QUICK), FullFineTuning(**QUICK)):
        made = technique.fit(base, ALIKE, tmp_path / technique.name)
        said = float(made.notes[2].removeprefix("validation loss "))
        held = with_instruction(ALIKE, technique.system).validation
        encoded = encode(tiny_models.tokenizer(), held, base.context)
        with torch.no_grad():
            loss, scored = answer_loss(network_of(technique.load(made)), encoded)
        assert loss.item() / scored == pytest.approx(said, rel=0.03)


def test_a_base_without_the_named_layers_is_refused(base: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="target_modules names 'nowhere'") as caught:
        LoRA(target_modules=("nowhere",), **QUICK).fit(base, ALIKE, tmp_path)
    assert "Known: down_proj, gate_proj" in str(caught.value)


def test_only_the_named_layers_get_adapters(base: ModelCard, tmp_path: Path) -> None:
    technique = LoRA(rank=4, target_modules=("q_proj", "v_proj"), **QUICK)
    made = technique.fit(base, ALIKE, tmp_path)
    names = set(load_file(tmp_path / "adapter_model.safetensors"))
    assert len(names) == 2 * 2 * 2
    assert {name.split(".")[-3] for name in names} == {"q_proj", "v_proj"}
    assert made.trainable_parameters == 2 * 4 * (32 + 32 + 32 + 16)


def test_dropout_trains_and_is_gone_in_service(base: ModelCard, tmp_path: Path) -> None:
    technique = LoRA(rank=4, dropout=0.5, **QUICK)
    model = technique.load(technique.fit(base, ALIKE, tmp_path))
    assert first(model).text == first(model).text


@pytest.mark.reference
def test_peft_reads_the_virtual_tokens_and_says_the_same(base: ModelCard, tmp_path: Path) -> None:
    technique = PTuning(virtual_tokens=5, encoder_hidden=16, **QUICK)
    made = technique.fit(base, ALIKE, tmp_path)
    completion = first(technique.load(made))
    assert completion.prompt_tokens == prompt().shape[1] + 5
    theirs = peft.PeftModel.from_pretrained(local.load_network(base, torch.float32), made.directory)
    with torch.no_grad():
        logits = theirs(input_ids=prompt(), attention_mask=torch.ones_like(prompt())).logits
    said = tiny_models.tokenizer().decode([int(logits[0, -1].argmax())])
    assert completion.text.startswith(said.strip())
    assert completion.text


def test_virtual_tokens_take_their_room_from_the_context(base: ModelCard, tmp_path: Path) -> None:
    technique = PTuning(virtual_tokens=200, encoder_hidden=16, **QUICK)
    with pytest.raises(TrainingError, match="fill the model's context of 10 tokens"):
        technique.fit(replace(base, context=210), ALIKE, tmp_path)


def test_p_tuning_is_refused_where_layers_look_tokens_up(tmp_path: Path) -> None:
    base = tiny_models.save(tmp_path / "base", "gemma3n")
    with pytest.raises(TrainingError, match=r"looks its tokens up in every layer.*Use lora"):
        PTuning(**QUICK).fit(base, ALIKE, tmp_path / "made")


def test_a_fully_tuned_model_is_one_that_transformers_loads_by_itself(
    base: ModelCard, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    technique = FullFineTuning(**QUICK)
    made = technique.fit(base, ALIKE, tmp_path)
    network, found = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not found["missing_keys"]
    assert network.config._attn_implementation != "sartor_packed"
    with torch.no_grad():
        expected = network(prompt()).logits
        given = network_of(technique.load(made))(prompt()).logits
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fully_tuned_model_is_kept_in_the_precision_of_its_base(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    tiny_models.network().to(dtype).save_pretrained(tmp_path / "base")
    tiny_models.tokenizer().save_pretrained(tmp_path / "base")
    base = base_card.describe(str(tmp_path / "base"))
    FullFineTuning(**QUICK).fit(base, ALIKE, tmp_path / "made")
    kept = load_file(tmp_path / "made" / "model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {dtype}


@pytest.mark.parametrize(
    "architecture", ["mistral", "gemma2", "bloom", "mpt", "gpt_oss", "qwen3_5"]
)
@pytest.mark.parametrize("technique", [LoRA, PTuning])
def test_other_architectures_are_trained_and_served(
    architecture: str, technique: Any, tmp_path: Path
) -> None:
    base = tiny_models.save(tmp_path / "base", architecture)
    settings = {"encoder_hidden": 16} if technique is PTuning else {"rank": 4}
    chosen = technique(**QUICK, **settings)
    made = chosen.fit(base, ALIKE, tmp_path / "made")
    model = chosen.load(made)
    together = model.generate([e.input for e in ALIKE.train], GREEDY)
    assert [c.text for c in together] == [
        model.generate([e.input], GREEDY)[0].text for e in ALIKE.train
    ]


def test_without_pytorch_the_extra_is_named(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from sartor.data.records import TrainingData
from sartor.errors import MissingExtraError
from sartor.models.language_model import ModelCard
from sartor.techniques.registry import TECHNIQUES, build
card = ModelCard("none", "", "", "", 0, 9)
for name in ("lora", "full", "p-tuning"):
    try:
        build(name).fit(card, TrainingData((), (), ()), Path(sys.argv[1]))
    except MissingExtraError as error:
        print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    said = 'a local base model needs torch: pip install "sartor[local]"'
    assert run.stdout.strip().split("\n") == [said] * 3
