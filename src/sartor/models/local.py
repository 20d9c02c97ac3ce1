"""Base models that run in this process: found, described, loaded. Safetensors only.

`describe` reads configuration and file headers, `load` the weights. A name is `thimble`, a folder,
or a Hugging Face id (taken from the local cache, or the hub where there is one), at a revision
where one is named: `Qwen/Qwen3-0.6B@c1899de`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import MissingExtraError, ModelError, SartorError
from sartor.models.language_model import ModelCard
from sartor.models.memory import give_back, ran_out
from sartor.models.token_by_token import refuse_unable

if TYPE_CHECKING:
    import torch

THIMBLE = Path(__file__).parent / "thimble"
"""The embedded demonstration model's folder."""
HASHED_WHOLE = 1 << 30
"""Bytes; of larger weight files only header, size and time of change go into the revision."""
CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Environment variables that say how many shapes oneDNN, and torch above it, keep."""
BESIDE = ("*.json", "*.jinja", "*.model", "*.txt", "*.py")
"""What a model is made of beside its weights: configuration, tokenizer, and code of its own."""
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
DEFAULT_CONTEXT = 2048
"""Tokens, for configurations that do not say."""


def describe(name: str, *, trust_remote_code: bool = False) -> ModelCard:
    """The card of a base model; nothing but its configuration and file headers is read.

    Raises ModelError when there is no such model, or only pickled weights.
    """
    path = THIMBLE if name == "thimble" else Path(name).expanduser()
    if path.is_dir():
        return _describe_folder(name, path.resolve(), trust_remote_code)
    if path.exists() or name.startswith((".", "/", "~")):
        raise ModelError(
            f"base {name!r} is not a folder with a model. Expected config.json, *.safetensors and "
            "a tokenizer in it; give such a folder, a Hugging Face id, or 'thimble'."
        )
    return _describe_hub(name, trust_remote_code)


def _describe_folder(name: str, path: Path, trust_remote_code: bool) -> ModelCard:
    if not (path / "config.json").is_file():
        raise ModelError(
            f"base {name!r}: {path} holds no config.json, so it is not a model. Expected "
            "config.json, *.safetensors and a tokenizer."
        )
    weights = _weight_files(path)
    if not weights:
        pickled = [found for kind in PICKLED for found in sorted(path.glob(kind))]
        found = f"only {pickled[0].name}" if pickled else "no weights"
        raise ModelError(
            f"base {name!r}: {path} holds {found}; sartor reads safetensors only, because loading "
            "pickled weights can run code. Convert once, with transformers on a machine you trust: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder), and the "
            "same with AutoTokenizer."
        )
    config = _config(str(path), trust_remote_code)
    return ModelCard(
        name=name,
        path=str(path),
        revision=_revision(path, weights),
        architecture=_architecture(config),
        parameters=sum(_parameters_in(file) for file in weights),
        context=context(config),
        license=_license(path),
        trust_remote_code=trust_remote_code,
    )


def _weight_files(path: Path) -> list[Path]:
    """The files that transformers reads: those of the index, else the usual one, else all."""
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        usual = path / "model.safetensors"
        return [usual] if usual.is_file() else sorted(path.glob("*.safetensors"))
    try:
        named = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: not an index of weights. Copy or download it again.") from error
    missing = sorted(file for file in named if not (path / file).is_file())
    if missing:
        raise ModelError(
            f"{path} holds only some of the model's weights: {missing[0]} is missing "
            f"({len(missing)} of {len(named)} files). Copy or download it again."
        )
    return sorted(path / file for file in named)


def _describe_hub(name: str, trust_remote_code: bool) -> ModelCard:
    require_transformers()
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        folder = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=["*.safetensors", *BESIDE],
        )
    except Exception as error:
        raise ModelError(
            f"base {name!r} is neither 'thimble', nor a folder, nor a model that could be fetched "
            f"from the Hugging Face hub ({type(error).__name__}). Check the spelling, the network, "
            "or give a local folder."
        ) from error
    return _describe_folder(name, Path(folder), trust_remote_code)


def _config(path: str, trust_remote_code: bool) -> Any:
    require_transformers()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # transformers raises many kinds
        raise ModelError(
            f"{path}: transformers cannot read its configuration: {_reason(error)} "
            "If the model brings its own code and you trust it, set model.trust_remote_code = true."
        ) from error


def _reason(error: Exception) -> str:
    """The first line of a library's error."""
    return next(iter(str(error).split("\n")), "") or type(error).__name__


def _revision(path: Path, weights: list[Path]) -> str:
    total = hashlib.sha256()
    small = [file for kind in BESIDE for file in sorted(path.glob(kind))]
    for file in [*small, *weights]:
        stat = file.stat()
        if stat.st_size <= HASHED_WHOLE:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    total.update(block)
        else:
            total.update(json.dumps([_header(file), stat.st_size, stat.st_mtime_ns]).encode())
    return total.hexdigest()


def _header(file: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file (its format: 8 bytes of length, then the header)."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > 1 << 27:
                raise ValueError("header length")
            header = json.loads(stream.read(length))
            if not isinstance(header, dict):
                raise ValueError("header kind")
    except ValueError as error:
        raise ModelError(f"{file}: not a safetensors file. Copy or download it again.") from error
    _refuse_cut(file, 8 + length, header)
    return header


def _refuse_cut(file: Path, start: int, header: dict[str, Any]) -> None:
    """ModelError where fewer bytes follow the header than it tells of."""
    ends = (tensor["data_offsets"][1] for tensor in header.values() if "data_offsets" in tensor)
    whole, found = start + max(ends, default=0), file.stat().st_size
    if found < whole:
        raise ModelError(
            f"{file} has {found:,} bytes, and {whole:,} when whole. Copy or download it again."
        )


def _parameters_in(file: Path) -> int:
    total = 0
    for name, tensor in _header(file).items():
        if name != "__metadata__":
            size = 1
            for extent in tensor["shape"]:
                size *= extent
            total += size
    return total


def _architecture(config: Any) -> str:
    return str((config.architectures or [config.model_type])[0])


def context(config: Any) -> int:
    """Tokens that a model of that configuration reads."""
    config = config.get_text_config(decoder=True)  # of a model that also sees, the part that reads
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        if isinstance(getattr(config, key, None), int):
            return int(getattr(config, key))
    return DEFAULT_CONTEXT


def _license(path: Path) -> str:
    """The `license:` line of the model card's front matter, where there is one."""
    readme = path / "README.md"
    if not readme.is_file():
        return ""
    for line in readme.read_text("utf-8", errors="replace").split("\n")[:40]:
        if line.startswith("license:"):
            return line.removeprefix("license:").strip()
    return ""


def require_transformers() -> None:
    """MissingExtraError unless models can be run in this process; makes transformers quiet."""
    _settle_libraries()
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError("a local base model", str(error.name), "local") from error
    del torch
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _settle_libraries() -> None:
    """What torch's libraries read from the environment once, before it loads.

    Threads of libgomp look out for work for some microseconds, then sleep: its own default slows a
    model tenfold beside another busy process; sleeping at once, by half. oneDNN keeps what it
    prepared for so many shapes of product, each of some hundred kilobytes: its own default of 1,024
    doubles the memory of training, and finds no more of them again than this.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for cache in CACHES:
        os.environ.setdefault(cache, "64")


def _refuse_remote(card: ModelCard) -> None:
    if card.remote is not None:
        raise ModelError(
            f"base {card.name!r} is a remote model: its weights and tokenizer are not here. Use a "
            "technique that changes the prompt only (zero-shot, few-shot, rag), or another base."
        )


def load_tokenizer(card: ModelCard) -> Any:
    """The fast tokenizer of a base model."""
    _refuse_remote(card)
    require_transformers()
    from transformers import AutoTokenizer

    try:
        made = AutoTokenizer.from_pretrained(card.path, trust_remote_code=card.trust_remote_code)
    except Exception as error:  # transformers and tokenizers raise many kinds
        raise ModelError(
            f"base {card.name!r}: no tokenizer could be loaded from {card.path}: "
            f"{_reason(error).rstrip('.')}. Expected files that transformers reads, such as "
            "tokenizer.json: copy or download the base again, whole."
        ) from error
    _refuse_unknown_tokens(card, made)
    return made


def _refuse_unknown_tokens(card: ModelCard, tokenizer: Any) -> None:
    """ModelError where the tokenizer is another model's, with more tokens than this one has. What
    was added to it does not count: some models bring tokens that they never read."""
    if not (Path(card.path) / "config.json").is_file():
        return
    config = _config(card.path, card.trust_remote_code).get_text_config(decoder=True)
    known = getattr(config, "vocab_size", None)
    if known and tokenizer.vocab_size > known:
        raise ModelError(
            f"base {card.name!r}: its tokenizer has {tokenizer.vocab_size:,} tokens, and the model "
            f"knows {known:,}: they do not belong together. Give it the tokenizer that it was "
            "trained with, or enlarge it with transformers' resize_token_embeddings."
        )


def load_network(
    card: ModelCard, dtype: torch.dtype, *, quantized: bool = False,
    place: torch.device | None = None,
) -> Any:  # fmt: skip
    """The causal language model itself, in evaluation mode on `place`, else on `device()`;
    `quantized` in 4-bit NormalFloat (Dettmers et al. 2023, arXiv:2305.14314), which needs a GPU and
    bitsandbytes.

    Raises ModelError when it cannot be loaded whole, or cannot generate token by token.
    """
    _refuse_remote(card)
    require_transformers()
    from transformers import AutoModelForCausalLM

    give_back()  # a network that was trained before it, and all that its steps took
    try:
        network, found = AutoModelForCausalLM.from_pretrained(
            card.path,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=card.trust_remote_code,
            output_loading_info=True,
            **(_in_four_bits(dtype) if quantized else {}),
        )
        _refuse_unfit(card, network, sorted(found["missing_keys"]))
        network = (network if quantized else network.to(place or device())).eval()
        refuse_unable(card, network)
    except SartorError:
        raise
    except Exception as error:  # transformers and safetensors raise many kinds
        if ran_out(error):
            raise _too_large(card, dtype, place or device(), quantized) from error
        raise ModelError(
            f"base {card.name!r}: transformers could not load a causal language model from "
            f"{card.path}: {_reason(error).rstrip('.')}. Copy or download it again, whole, or give "
            "a base that writes text token by token, such as Llama, Qwen, Mistral, Gemma or GPT-2."
        ) from error
    return network


def _too_large(
    card: ModelCard, dtype: torch.dtype, place: torch.device, quantized: bool
) -> ModelError:
    needed = card.parameters * (0.5 if quantized else dtype.itemsize)
    where, told = "this machine", "Stop other programs that hold memory"
    if place.type == "cuda":
        where, told = f"the GPU ({place})", "Stop other programs that hold its memory (nvidia-smi)"
    return ModelError(
        f"base {card.name!r}: memory of {where} ran out while it was loaded; its weights alone "
        f"take {needed / 1e9:.2g} GB. {told}, or give a smaller base (`sartor models "
        "--max-memory` has some)."
    )


def _in_four_bits(dtype: torch.dtype) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("a base in 4 bits", "bitsandbytes", "quantize")
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )  # fmt: skip
    return {"quantization_config": config, "device_map": {"": device()}}


def _refuse_unfit(card: ModelCard, network: Any, missing: list[str]) -> None:
    if missing:  # transformers would draw them at random
        raise ModelError(
            f"base {card.name!r}: the weights of {card.path} do not fit a "
            f"{type(network).__name__}: {len(missing)} are missing, such as {missing[0]}. Give a "
            "causal language model, whole."
        )
    accepted = inspect.signature(network.forward).parameters
    if "past_key_values" not in accepted or "attention_mask" not in accepted:
        raise ModelError(
            f"base {card.name!r}: a {type(network).__name__} keeps no cache of keys and values, "
            "which sartor needs to generate. Give a transformer such as Llama, Qwen, Mistral, "
            "Gemma or GPT-2."
        )


def device() -> torch.device:
    """The first GPU, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16() -> bool:
    """Whether matrix products in bfloat16 are faster here than in float32."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(
        word in flags.read_text() for word in ("avx512_bf16", "amx_bf16", " bf16")
    )


def stored_dtype(card: ModelCard) -> torch.dtype:
    """What the base's weights are kept in; float32 where its configuration does not say."""
    import torch

    stored = _config(card.path, card.trust_remote_code).dtype
    return stored if isinstance(stored, torch.dtype) else torch.float32


def inference_dtype(card: ModelCard) -> torch.dtype:
    """float32 for small models on a CPU (answers then do not depend on the batch), or bfloat16."""
    import torch

    small = card.parameters < 200_000_000
    if device().type == "cpu" and (small or not has_bf16()):
        return torch.float32
    return torch.bfloat16
