"""Code that comes with a model never runs unless it is named: pickled weights, and Python files."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny_models

from sartor.customized import located
from sartor.data.records import Example, Message, TrainingData
from sartor.errors import ModelError
from sartor.journey import Project, bases
from sartor.models import base_card, local
from sartor.models.language_model import ModelCard
from sartor.models.named import Names
from sartor.project import Model
from sartor.techniques.registry import build
from sartor.techniques.technique import Customization

TRAINED = {
    "lora": {"learning_rates": (0.001,), "epochs": 1.0, "rank": 2},
    "ia3": {"learning_rates": (0.001,), "epochs": 1.0},
    "full": {"learning_rates": (0.001,), "epochs": 1.0},
    "p-tuning": {"learning_rates": (0.001,), "epochs": 1.0, "virtual_tokens": 2},
}


class Evil:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there once foreign code has run."""
    path = tmp_path / "mark"
    pickle.loads(pickle.dumps(Evil(path)))
    assert path.exists(), "the pickle would do no harm"
    path.unlink()
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(whole: ModelCard, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.path, tmp_path / "base"))


def evil(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(mark)))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_a_base_of_pickled_weights_is_refused_and_not_read(
    name: str, base: Path, mark: Path
) -> None:
    (base / "model.safetensors").unlink()
    evil(base / "optimizer.bin", mark)  # what a training leaves is no weights
    evil(base / name, mark)
    with pytest.raises(ModelError, match=rf"only {name}; sartor reads safetensors only.*Convert"):
        base_card.describe(str(base))
    assert not mark.exists()


def test_pickles_beside_safetensors_are_not_read(base: Path, mark: Path) -> None:
    evil(base / "pytorch_model.bin", mark)
    evil(base / "training_args.bin", mark)
    evil(base / "tokenizer.pkl", mark)
    card = base_card.describe(str(base))
    local.load_network(card, torch.float32)
    local.load_tokenizer(card)
    assert not mark.exists()


def test_pickled_weights_that_call_themselves_safetensors_are_not_read(
    base: Path, mark: Path
) -> None:
    evil(base / "model.safetensors", mark)
    with pytest.raises(ModelError, match="not a safetensors file"):
        base_card.describe(str(base))
    assert not mark.exists()


def test_the_advice_converts_pickled_weights(base: Path, tmp_path: Path) -> None:
    torch.save(tiny_models.network().state_dict(), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(ModelError) as refusal:
        base_card.describe(str(base))
    advice = str(refusal.value).partition("machine you trust: ")[2].rstrip(".")
    converted = tmp_path / "converted"
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert advice == (
        "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder), and the same "
        "with AutoTokenizer"
    )
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(converted)
    AutoTokenizer.from_pretrained(base).save_pretrained(converted)
    card = base_card.describe(str(converted))
    network = local.load_network(card, torch.float32)
    for name, weight in tiny_models.network().state_dict().items():
        assert torch.equal(network.state_dict()[name].cpu(), weight)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    asked = [
        Example(f"e{i}", (Message("user", "What color is the lamp?"),), ("The lamp is green.",))
        for i in range(6)
    ]
    return TrainingData((), tuple(asked[:4]), tuple(asked[4:]))


@pytest.mark.parametrize("name", TRAINED)
def test_what_was_trained_is_never_read_from_a_pickle(
    name: str, whole: ModelCard, data: TrainingData, tmp_path: Path, mark: Path
) -> None:
    technique = build(name, TRAINED[name])
    made: Customization = technique.fit(whole, data, tmp_path / "made")
    folder = Path(made.directory)
    technique.load(made)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    for pickled in ("adapter_model.bin", "pytorch_model.bin", "model.bin"):
        evil(folder / pickled, mark)
    with pytest.raises(ModelError, match="Delete that folder and run again"):
        technique.load(replace(made))
    assert not mark.exists()


def with_code(base: Path, mark: Path) -> None:
    """Make the base one that brings its own Python."""
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    config = "from transformers import LlamaConfig\nclass Own(LlamaConfig):\n    model_type = 'own'"
    (base / "configuration_own.py").write_text(code + config + "\n")
    network = (
        "from transformers import LlamaForCausalLM\nfrom .configuration_own import Own\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = Own\n"
    )
    (base / "modeling_own.py").write_text(code + network)
    plain = json.loads((base / "config.json").read_text())
    own = {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    plain |= {"model_type": "own", "architectures": ["OwnModel"], "auto_map": own}
    (base / "config.json").write_text(json.dumps(plain))


@pytest.fixture
def own_code(base: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    modules = base.parent / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    with_code(base, mark)
    return base


def test_code_of_a_model_runs_only_where_it_is_trusted_by_name(own_code: Path, mark: Path) -> None:
    with pytest.raises(ModelError, match=r"trust it, name the base in trust_remote_code"):
        base_card.describe(str(own_code))
    assert not mark.exists()
    card = base_card.describe(str(own_code), trust_remote_code=True)
    assert mark.exists()
    assert card.trust_remote_code
    assert card.architecture == "OwnModel"
    local.load_network(card, torch.float32)


def test_of_several_bases_only_the_named_one_may_run_code(own_code: Path, mark: Path) -> None:
    folder = own_code.parent
    (folder / "e.jsonl").write_text("")
    shutil.copytree(own_code, folder / "other")

    def project(trusted: str) -> Project:
        (folder / "sartor.toml").write_text(
            '[data]\nexamples = "e.jsonl"\n[model]\nbases = ["thimble", "base", "other"]\n'
            f"trust_remote_code = {trusted}\n"
        )
        return Project.open(folder)

    with pytest.raises(ModelError, match="base"):
        bases(project('["thimble"]'))
    assert not mark.exists()
    with pytest.raises(ModelError, match="other"):
        bases(project('["base"]'))
    assert [c.trust_remote_code for c in bases(project('["base", "other"]')).values()] == [
        False, True, True,
    ]  # fmt: skip


def test_trust_in_the_base_is_none_in_that_of_a_candidate(own_code: Path, mark: Path) -> None:
    folder = own_code.parent
    (folder / "e.jsonl").write_text("")

    def project(trusted: str) -> Project:
        (folder / "sartor.toml").write_text(
            '[data]\nexamples = "e.jsonl"\n[model]\nbase = "thimble"\n'
            f"trust_remote_code = {trusted}\n"
            '[customize]\ncandidates = ["zero-shot", {technique = "lora", base = "base"}]\n'
        )
        return Project.open(folder)

    with pytest.raises(ModelError, match="name the base in trust_remote_code"):
        bases(project("true"))
    assert not mark.exists()
    assert [c.trust_remote_code for c in bases(project('["base"]')).values()] == [False, True]


def test_pickled_weights_of_another_name_are_converted_as_advised(
    base: Path, tmp_path: Path
) -> None:
    torch.save(tiny_models.network().state_dict(), base / "model.pt")
    (base / "model.safetensors").unlink()
    with pytest.raises(ModelError) as refusal:
        base_card.describe(str(base))
    advice = str(refusal.value).partition("machine you trust: ")[2]
    assert advice.startswith(
        "network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)); "
        "network.load_state_dict(weights), which torch.load reads from the file with "
        "weights_only=True; network.save_pretrained(new_folder)"
    )
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    network.load_state_dict(torch.load(base / "model.pt", weights_only=True))
    network.save_pretrained(tmp_path / "new")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "new")
    local.load_network(base_card.describe(str(tmp_path / "new")), torch.float32)


def test_what_is_moved_trusts_the_base_that_it_was_made_from(own_code: Path, mark: Path) -> None:
    trusting = Model(base="base", trust_remote_code=True)
    card = Names(own_code.parent, model=trusting).card("base")
    gone = replace(card, path="/gone/elsewhere")
    made = Customization("zero-shot", gone, "made", "d", 0, 0.0, 0)
    assert located(made, own_code.parent).base == card
    with pytest.raises(ModelError, match="name the base in trust_remote_code"):
        located(replace(made, base=replace(gone, trust_remote_code=False)), own_code.parent)
