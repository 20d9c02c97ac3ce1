"""Which folders are base models, and what is said of those that are not."""

from __future__ import annotations

import dataclasses
import gc
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny_models
from tests.training.test_loop import Heard

from sartor.errors import ModelError
from sartor.models import base_card, local, outline
from sartor.models.language_model import ModelCard
from sartor.progress import shown_by


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_models.save(folder)
    return folder


@pytest.fixture
def base(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(whole, tmp_path / "base"))


def test_a_folder_is_described_without_loading_it(base: Path) -> None:
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    card = base_card.describe(str(base))
    network = tiny_models.network()
    assert card.name == str(base)
    assert card.architecture == "LlamaForCausalLM"
    assert card.parameters == sum(p.numel() for p in network.parameters())
    assert card.context == tiny_models.CONTEXT
    assert card.license == "apache-2.0"
    assert not card.trust_remote_code


def test_the_revision_follows_the_content_and_not_the_place(base: Path, whole: Path) -> None:
    first = base_card.describe(str(base)).revision
    assert first == base_card.describe(str(whole)).revision
    (base / "chat_template.jinja").write_text("{{ messages }}")
    second = base_card.describe(str(base)).revision
    weights = load_file(base / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    found = {first, second, base_card.describe(str(base)).revision}
    for beside in ("modeling_own.py", "tokenizer.model", "vocab.txt"):
        (base / beside).write_text("changed")
        found.add(base_card.describe(str(base)).revision)
    assert len(found) == 6


def in_shards(base: Path) -> None:
    network = tiny_models.network()
    (base / "model.safetensors").unlink()
    network.save_pretrained(base, max_shard_size="50KB")
    assert len(list(base.glob("*.safetensors"))) > 2


def test_shards_are_counted_together_and_strays_not(base: Path) -> None:
    parameters = base_card.describe(str(base)).parameters
    in_shards(base)
    shutil.copy(next(base.glob("model-00001*")), base / "consolidated.safetensors")
    assert base_card.describe(str(base)).parameters == parameters
    assert local.load_network(base_card.describe(str(base)), torch.float32).device.type


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def pickled(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def no_shard(base: Path) -> None:
    in_shards(base)
    next(base.glob("model-00002*")).unlink()


def no_index(base: Path) -> None:
    in_shards(base)
    (base / "model.safetensors.index.json").write_text("[]")


def no_context(base: Path) -> None:
    told = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**told, "max_position_embeddings": 0}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda b: (b / "config.json").unlink(), "holds no config.json, so it is not a model"),
        (
            lambda b: (b / "model.safetensors").unlink(),
            r"holds no weights. Expected \*\.safetensors: copy or download it again, whole",
        ),
        (
            lambda b: (b / "model.safetensors").rename(b / "model-q4.gguf"),
            r"only model-q4.gguf.*a format for answering alone\. Give .* made from.*\[remote\.",
        ),
        (pickled, "only pytorch_model.bin; sartor reads safetensors only"),
        (pickled, "from_pretrained.folder..save_pretrained"),
        (lambda b: (b / "model.safetensors").write_bytes(b""), "not a safetensors file. Copy or"),
        (
            lambda b: (b / "model.safetensors").write_bytes(b"version https://git-lfs" * 9),
            "not a saf",
        ),
        (
            lambda b: (b / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0[]"),
            "not a safetensors",
        ),
        (no_shard, r"holds only some of the model's weights: model-00002.* is missing \(1 of"),
        (no_index, "not an index of weights"),
        (lambda b: (b / "config.json").write_text("{"), "cannot read its configuration"),
        (no_context, r"base: max_position_embeddings is 0 in its config.json. Expected how many t"),
        (
            lambda b: (b / "config.json").write_text('{"model_type": "unheard"}'),
            "cannot read its conf.*If the model is newer than transformers .*, upgrade that",
        ),
    ],
)
def test_what_is_not_a_whole_model_is_refused_with_advice(
    spoil: Callable[[Path], object], said: str, base: Path
) -> None:
    spoil(base)
    with pytest.raises(ModelError, match=said):
        base_card.describe(str(base))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"hidden_act": "gloo"}, r"makes no causal language model of .* \(there is no 'gloo'\)"),
        ({"rope_parameters": {"rope_type": "spiral", "rope_theta": 1.0}}, "there is no 'spiral'"),
        ({"pad_token_id": 9999}, "Padding_idx must be within num_embeddings"),
        ({"num_hidden_layers": 0}, "it has 0 layers"),
        ({"hidden_size": "32"}, "'hidden_size': TypeError: .* got str .*If the model"),
    ],
)
def test_a_configuration_that_makes_no_model_is_told_before_and_no_traceback(
    wrong: dict[str, object], said: str, base: Path
) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, **wrong}))
    with pytest.raises(ModelError, match=said):
        outline.known(str(base))
    with suppress(ModelError):  # what cannot be described is told there
        assert outline.empty_alike(base_card.describe(str(base))) is None


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./missing", "~/missing-model"])
def test_no_such_folder_is_told_with_what_to_give(name: str) -> None:
    with pytest.raises(ModelError, match="give such a folder, a Hugging Face id, or 'thimble'"):
        base_card.describe(name)


@pytest.mark.parametrize("with_config", [False, True])
@pytest.mark.parametrize(
    ("told", "of"),
    [('{"base_model_name_or_path": "org/llama"}', " of org/llama"), ("{", ""), ("[]", "")],
)
def test_an_adapter_is_no_model(told: str, of: str, with_config: bool, base: Path) -> None:
    if not with_config:
        (base / "config.json").unlink()
    (base / "model.safetensors").rename(base / "adapter_model.safetensors")
    (base / "adapter_config.json").write_text(told)
    with pytest.raises(ModelError, match=f"holds an adapter{of}, not a model.*merge"):
        base_card.describe(str(base))


def test_a_model_beside_an_adapter_is_one(base: Path) -> None:
    shutil.copy(base / "model.safetensors", base / "adapter_model.safetensors")
    (base / "adapter_config.json").write_text("{}")
    assert base_card.describe(str(base)).parameters > 0


@pytest.mark.parametrize(
    ("added", "is_told"),
    [
        ("model.layers.7.mlp.up_proj.weight", True),
        ("model.layers.2.eh_proj.weight", False),  # as layers that predict further tokens
        ("vision.layers.9.weight", False),
        ("rotary.inv_freq", False),
    ],
)
def test_layers_that_the_configuration_does_not_count_are_told(
    added: str, is_told: bool, base: Path
) -> None:
    local._say_once.cache_clear()
    weights = load_file(base / "model.safetensors")
    save_file({**weights, added: torch.ones(3)}, base / "model.safetensors", {"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "num_nextn_predict_layers": 1}))
    heard = Heard()
    with shown_by(heard):
        for _ in range(2):
            local.load_network(base_card.describe(str(base)), torch.float32)
    said = [words for words in heard.said if "counts 2 layers, and its weights have 8" in words]
    assert len(said) == is_told
    assert len(heard.said) == is_told


def test_a_file_is_no_model(base: Path) -> None:
    with pytest.raises(ModelError, match="is not a folder with a model"):
        base_card.describe(str(base / "config.json"))


def test_a_gguf_file_is_told_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="made from"):
        base_card.describe(str(tmp_path / "m.gguf"))


def test_a_repository_without_safetensors_is_converted_by_its_id(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "model.safetensors").unlink()  # what is pickled is not fetched
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(base))
    with pytest.raises(
        ModelError, match=r"no safetensors.*from_pretrained\('old/one', revision='r'"
    ):
        base_card.describe("old/one@r")
    with pytest.raises(ModelError, match=r"from_pretrained\('old/one'\)"):
        base_card.describe("old/one")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("GatedRepoError", "accept its license on its page, and log in: hf auth login"),
        ("RepositoryNotFoundError", "the hub has none by that name, or it is private"),
        ("RevisionNotFoundError", "it has no revision 'r'"),
        ("LocalEntryNotFoundError", "the hub was not reached, and it is not in the local cache"),
    ],
)
def test_why_the_hub_gives_no_model_is_told(
    kind: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import errors

    class Refused(getattr(errors, kind)):  # type: ignore[misc]
        def __init__(self) -> None:
            Exception.__init__(self, "no")

    def refuse(*_: object, **__: object) -> str:
        raise Refused

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ModelError, match=said):
        base_card.describe("someone/small@r")


def test_a_hub_id_that_cannot_be_fetched_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="is neither 'thimble', nor a folder, nor a model that"):
        base_card.describe("nobody/nothing")


def loaded(base: Path) -> ModelCard:
    card = base_card.describe(str(base))
    local.load_network(card, torch.float32)
    local.load_tokenizer(card)
    return card


def without_a_weight(base: Path) -> None:
    weights = load_file(base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})


def another_shape(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))


def few_tokens(base: Path) -> None:
    from transformers import LlamaForCausalLM

    network: Any = LlamaForCausalLM.from_pretrained(base)
    network.resize_token_embeddings(100)
    network.save_pretrained(base)


def quantized_by_gptq(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    by = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": by}))


def encoder_and_decoder(base: Path) -> None:
    (base / "config.json").write_text('{"model_type": "t5", "architectures": ["T5Model"]}')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda b: truncate(b / "model.safetensors"),
            r"has [\d,]+ bytes, and [\d,]+ when whole. Copy",
        ),
        (few_tokens, r"tokenizer has \d+ tokens, and the model knows 100: they do not belong"),
        (without_a_weight, "1 are missing, such as model.layers.1.mlp.up_proj.weight"),
        (another_shape, r"_proj.weight has the sizes \(.*\), and \(.*\) are expected \(6 such\)"),
        (quantized_by_gptq, "a package which is not here: .* Install that package, or give"),
        (encoder_and_decoder, "could not load a causal language model"),
        (lambda b: (b / "tokenizer.json").write_text("{}"), "no tokenizer could be loaded"),
    ],
)
def test_what_cannot_be_loaded_is_an_error_of_the_model(
    spoil: Callable[[Path], object], said: str, base: Path
) -> None:
    spoil(base)
    with pytest.raises(ModelError, match=said):
        loaded(base)


SHORT = """
import resource, sys
from pathlib import Path
import torch
from sartor.errors import ModelError
from sartor.models import base_card, local, outline

small, large = map(base_card.describe, sys.argv[1:])
local.load_network(small, torch.float32)
pages = int(Path("/proc/self/statm").read_text().split()[0])
left = pages * resource.getpagesize() + (20 << 20)
resource.setrlimit(resource.RLIMIT_AS, (left, left))
try:
    local.load_network(large, torch.float32)
except ModelError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="asks Linux for its memory")
def test_memory_that_runs_out_while_a_base_is_loaded_is_told_apart(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tiny_models.MORE, "wide", ("llama", {"intermediate_size": 100_000}))
    tiny_models.save(tmp_path, "wide")
    words = [sys.executable, "-c", SHORT, str(whole), str(tmp_path)]
    said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=300).stdout
    assert "memory of this machine ran out while it was loaded; its weights alone take" in said
    assert "give a smaller base" in said
    assert "could not load" not in said


def test_an_architecture_without_a_cache_is_refused(tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path, "mamba")
    with pytest.raises(ModelError, match="a MambaForCausalLM keeps no cache of keys and values"):
        local.load_network(card, torch.float32)


def test_small_models_answer_in_float32_on_a_cpu(whole: Path) -> None:
    if local.device().type == "cpu":
        assert local.inference_dtype(base_card.describe(str(whole))) == torch.float32
    assert local.stored_dtype(base_card.describe(str(whole))) == torch.float32


def test_thimble_is_there_and_whole() -> None:
    card = loaded(base_card.THIMBLE)
    assert base_card.describe("thimble").name == "thimble"
    assert base_card.describe("thimble").revision == card.revision
    assert card.architecture == "LlamaForCausalLM"
    assert 1_000_000 < card.parameters < 20_000_000
    assert card.context >= 512


def test_a_tokenizer_is_read_once_for_all_who_use_the_same_files(tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path / "base")
    config = Path(card.path) / "tokenizer_config.json"
    told = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps({**told, "told_apart": "here"}), "utf-8")  # in use nowhere else
    shutil.copytree(card.path, tmp_path / "copy")
    copy = dataclasses.replace(card, path=str(tmp_path / "copy"))
    first = local.load_tokenizer(card)
    assert local.load_tokenizer(copy) is first
    # other files are read anew, and so is what a changed folder holds now
    path = tmp_path / "copy" / "tokenizer_config.json"
    path.write_text(json.dumps({**told, "told_apart": "there"}), "utf-8")
    other = local.load_tokenizer(copy)
    assert other is not first
    del other
    # nobody but those who use it keeps it
    kept = weakref.ref(first)
    del first
    gc.collect()
    assert kept() is None


def test_a_hub_id_may_name_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from tests import tiny_models

    tiny_models.save(tmp_path)
    asked: list[tuple[str, str | None]] = []

    def fetched(name: str, *, revision: str | None, **_: object) -> str:
        asked.append((name, revision))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert base_card.describe("someone/small@c1899de").name == "someone/small@c1899de"
    base_card.describe("someone/small")
    assert asked == [("someone/small", "c1899de"), ("someone/small", None)]
