"""What cannot work on a base is said before anything is trained, by `refuse`, by the name of the
technique whose setting it is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import tiny_models

from sartor.errors import SettingError, TrainingError
from sartor.models import outline
from sartor.models.language_model import ModelCard
from sartor.techniques.estimating.fitting import refuse_too_large
from sartor.techniques.lora import LoRA
from sartor.techniques.registry import build


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target_modules": "nix"}, r"target_modules names 'nix', .* Known: down_proj, .*v_proj"),
        ({"target_modules": ("q_proj", "v_prj")}, r"target_modules names 'v_prj', and no layer"),
        ({"target_modules": ".*nix"}, "Name its linear layers in target_modules"),
        ({"target_modules": ()}, r"target_modules is empty.* Give some of: \['down_proj'"),
        ({"target_modules": ""}, "target_modules names ''"),
        ({"ranks": {"q_prj": 3}}, r"ranks names 'q_prj'.*Known: .*q_proj"),
        ({"upper_layers": 99}, "upper_layers is 99, but the base has 2 layers. Give at most"),
        ({"initialization": "pissa", "rank": 64}, "rank is 64, and .* has only .* Lower the rank"),
        ({"initialization": "eva"}, "rank 16 .* takes only 32 inputs. Lower the rank"),
    ],
)
def test_lora_refuses_by_the_configuration_alone(
    settings: dict[str, Any], said: str, base: ModelCard
) -> None:
    with pytest.raises(TrainingError, match=said):
        LoRA(**settings).refuse(base)


def test_what_is_no_regular_expression_is_refused_when_built() -> None:
    with pytest.raises(SettingError, match=r"lora: target_modules is .* no regular .*missing \)"):
        LoRA(target_modules=".*(q_proj")


@pytest.mark.parametrize(
    ("technique", "settings", "architecture", "said"),
    [
        ("full", {"upper_layers": 7}, "llama", "full: upper_layers is 7, but the base has 2"),
        ("ia3", {}, "mamba", "ia3: no layer of a MambaForCausalLM is known to make keys"),
        ("prefix-tuning", {}, "mistral", "layers of a MistralForCausalLM see only the last tokens"),
        ("p-tuning", {}, "gemma3n", "p-tuning: a Gemma3nForCausalLM looks its tokens up in every"),
        (
            "p-tuning",
            {"virtual_tokens": 256},
            "llama",
            "p-tuning: virtual_tokens is 256, and .* no",
        ),
        ("prefix-tuning", {"virtual_tokens": 900}, "llama", "reads 256 tokens: there is no room"),
        ("lora", {"dora": True}, "mixtral", "does not work with use_dora=True"),
        ("lora", {"initialization": "pissa"}, "mixtral", "mlp.experts holds .* Adapt layers only"),
    ],
)
def test_others_do_too(
    technique: str, settings: dict[str, Any], architecture: str, said: str, tmp_path: Path
) -> None:
    card = tiny_models.save(tmp_path / "base", architecture)
    made: Any = build(technique, settings)
    with pytest.raises(TrainingError, match=said):
        made.refuse(card)


def test_layers_are_named_by_their_end_or_by_a_regular_expression(
    base: ModelCard, tmp_path: Path
) -> None:
    shutil.copy(Path(base.path) / "config.json", tmp_path)  # no weights that could be loaded
    base = replace(base, path=str(tmp_path))
    for chosen in ("q_proj", "self_attn.q_proj", r".*\.q_proj", ("q_proj",), "all-linear"):
        LoRA(target_modules=chosen).refuse(base)


@pytest.mark.parametrize(
    ("technique", "settings", "said"),
    [
        ("kto", {"learning_rates": ()}, r"^kto: learning_rates is \[\]"),
        ("orpo", {"epochs": 0}, r"^orpo: epochs is 0"),
        ("continued-pretraining", {"rank": 0}, r"^continued-pretraining: rank is 0"),
        ("search+lora", {"space": {"rank": (0, 8)}}, r"^search: space.rank holds 0: rank is 0"),
        ("search+lora", {"space": {"rnk": (4, 8)}}, r"^search: space names 'rnk'"),
        ("lora", {"alpha": 0}, r"^lora: alpha is 0.0; it must be above 0"),
        ("merge+lora", {"weights": (0, 0)}, r"^merge: weights are all 0; give one"),
    ],
)
def test_a_wrong_setting_is_told_by_the_technique_it_is_of(
    technique: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        build(technique, settings)


def test_a_base_is_outlined_once_for_all_that_only_look_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    empty_network = outline.empty_network

    def counted(card: ModelCard, *given: Any, **options: Any) -> Any:
        made.append(card.name)
        return empty_network(card, *given, **options)

    monkeypatch.setattr(outline, "empty_network", counted)
    base = tiny_models.save(tmp_path / "base")
    for _ in range(2):
        for name in ("prefix-tuning", "p-tuning", "prompt-tuning", "ia3", "full", "lora"):
            technique: Any = build(name)
            technique.refuse(base)
            refuse_too_large(technique, base)
    assert len(made) == 4  # its shape, its network, and one to change for each time of LoRA's
    other = replace(base, revision="another")
    assert outline.outline(other) == outline.outline(base)
    assert len(made) == 5
