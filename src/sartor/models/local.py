"""Base models that run in this process: tokenizer and network loaded, where and in what numbers."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from sartor.data.files import content_digest, digest, read_json
from sartor.errors import MissingExtraError, ModelError, SartorError
from sartor.models.base_card import configuration
from sartor.models.language_model import ModelCard
from sartor.models.libraries import reason, require_transformers
from sartor.models.memory import give_back, ran_out
from sartor.models.token_by_token import refuse_unable
from sartor.progress import say

if TYPE_CHECKING:
    import torch

TOKENIZER_SUFFIXES = {".json", ".jinja", ".model", ".txt", ".py"}
OF_NETWORK = {"config.json", "generation_config.json", "model.safetensors.index.json"}
"""Files beside it that say nothing of a tokenizer, but for the kind of model."""
LAYER = re.compile(r"(.*?(?:^|\.)(?:layers|h|blocks?))\.(\d+)\.")
"""A parameter's name: the stack of layers, and the layer's number."""
_tokenizers: WeakValueDictionary[str, Any] = WeakValueDictionary()


def _refuse_remote(card: ModelCard) -> None:
    if card.remote is not None:
        raise ModelError(
            f"base {card.name!r} is a remote model: its weights and tokenizer are not here. Use a "
            "technique that changes the prompt only (zero-shot, few-shot, rag), or another base."
        )


def load_tokenizer(card: ModelCard) -> Any:
    """The fast tokenizer of a base model; the same object while one of the same files is in use."""
    _refuse_remote(card)
    key = _tokenizer_key(card)
    made = _tokenizers.get(key)
    if made is None:
        made = _tokenizers[key] = _read_tokenizer(card)
    _refuse_unknown_tokens(card, made)
    return made


def _tokenizer_key(card: ModelCard) -> str:
    """Of all that it is read from; copies of a base that have few of its layers share it."""
    folder = Path(card.path)
    if not (folder / "config.json").is_file():
        return digest(card.path)
    kind = read_json(folder / "config.json", dict[str, Any]).get("model_type")
    files = sorted(path for path in folder.iterdir() if path.suffix in TOKENIZER_SUFFIXES)
    read = [(path.name, content_digest(path)) for path in files if path.name not in OF_NETWORK]
    return digest(kind, card.trust_remote_code, read)


def _read_tokenizer(card: ModelCard) -> Any:
    require_transformers()
    from transformers import AutoTokenizer

    try:
        made = AutoTokenizer.from_pretrained(card.path, trust_remote_code=card.trust_remote_code)
    except Exception as error:  # transformers and tokenizers raise many kinds
        raise ModelError(
            f"base {card.name!r}: no tokenizer could be loaded from {card.path}: "
            f"{reason(error).rstrip('.')}. Expected files that transformers reads, such as "
            "tokenizer.json: copy or download the base again, whole."
        ) from error
    return made


def _refuse_unknown_tokens(card: ModelCard, tokenizer: Any) -> None:
    """ModelError where the tokenizer is another model's, with more tokens than this one has. What
    was added to it does not count: some models bring tokens that they never read."""
    if not (Path(card.path) / "config.json").is_file():
        return
    config = configuration(card.path, card.trust_remote_code).get_text_config(decoder=True)
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
            ignore_mismatched_sizes=True,  # told below: transformers only logs which
            **(_in_four_bits(dtype) if quantized else {}),
        )
        _refuse_other_sizes(card, sorted(found["mismatched_keys"]))
        _refuse_unfit(card, network, sorted(found["missing_keys"]))
        if unused := found["unexpected_keys"]:
            _tell_of_layers(card.name, network, unused)
        network = (network if quantized else network.to(place or device())).eval()
        refuse_unable(card, network)
    except SartorError:
        raise
    except Exception as error:  # transformers and safetensors raise many kinds
        if ran_out(error):
            raise _too_large(card, dtype, place or device(), quantized) from error
        raise not_loaded(card, error) from error
    return network


def not_loaded(card: ModelCard, error: Exception) -> ModelError:
    """What is said where transformers loads no network, by what it raised."""
    if isinstance(error, ImportError):
        return ModelError(
            f"base {card.name!r} is stored in a form that needs a package which is not here: "
            f"{reason(error).rstrip('.')}. Install that package, or give the base as it was "
            "before it was quantized."
        )
    return ModelError(
        f"base {card.name!r}: transformers could not load a causal language model from "
        f"{card.path}: {reason(error).rstrip('.')}. Copy or download it again, whole, or give "
        "a base that writes text token by token, such as Llama, Qwen, Mistral, Gemma or GPT-2."
    )


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


def _refuse_other_sizes(card: ModelCard, found: list[tuple[str, Any, Any]]) -> None:
    if found:  # transformers would draw them at random
        name, kept, expected = found[0]
        raise ModelError(
            f"base {card.name!r}: config.json and the weights of {card.path} do not belong "
            f"together: {name} has the sizes {tuple(kept)}, and {tuple(expected)} are expected "
            f"({len(found)} such). Copy or download it again, whole."
        )


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


def _tell_of_layers(name: str, network: Any, unused: Iterable[str]) -> None:
    """Layers beyond those that config.json counts are left out, but for ones that predict further
    tokens: which of these it has, transformers mostly knows itself."""
    own = {found[1] for key, _ in network.named_parameters() if (found := LAYER.match(key))}
    config = network.config.get_text_config(decoder=True)
    layers = getattr(config, "num_hidden_layers", None)
    beyond = [
        int(found[2])
        for key in unused
        if (found := LAYER.match(key)) and any(stack.endswith(found[1]) for stack in own)
    ]
    there = max(beyond, default=-1) + 1
    if layers is None or there <= layers + (getattr(config, "num_nextn_predict_layers", 0) or 0):
        return
    _say_once(
        f"base {name!r}: config.json counts {layers} layers, and its weights have {there}: those "
        f"beyond are left out. If the model shall be whole, set the number of layers to {there}."
    )


@cache
def _say_once(words: str) -> None:
    say(words)


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

    stored = configuration(card.path, card.trust_remote_code).dtype
    return stored if isinstance(stored, torch.dtype) else torch.float32


def inference_dtype(card: ModelCard) -> torch.dtype:
    """float32 for small models on a CPU (answers then do not depend on the batch), or bfloat16."""
    import torch

    small = card.parameters < 200_000_000
    if device().type == "cpu" and (small or not has_bf16()):
        return torch.float32
    return torch.bfloat16
