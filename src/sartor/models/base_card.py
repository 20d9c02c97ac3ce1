"""The card of a base model that runs in this process: found and described, nothing loaded.

Configuration and file headers are read, and no weights. Safetensors only. A name is `thimble`, a
folder, or a Hugging Face id (taken from the local cache, or the hub where there is one), at a
revision where one is named: `Qwen/Qwen3-0.6B@c1899de`.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from sartor.errors import ModelError
from sartor.models import other_weights
from sartor.models.language_model import ModelCard
from sartor.models.libraries import reason, require_transformers

THIMBLE = Path(__file__).parent / "thimble"
"""The embedded demonstration model's folder."""
HASHED_WHOLE = 1 << 30
"""Bytes; of larger weight files only header, size and time of change go into the revision."""
BESIDE = ("*.json", "*.jinja", "*.model", "*.txt", "*.py")
"""What a model is made of beside its weights: configuration, tokenizer, and code of its own."""
DEFAULT_CONTEXT = 2048
"""Tokens, for configurations that do not say."""
HUB_SAYS = {
    "GatedRepoError": "accept its license on its page, and log in: hf auth login",
    "RepositoryNotFoundError": "the hub has none by that name, or it is private",
    "RevisionNotFoundError": "it has no revision {revision!r}",
    "LocalEntryNotFoundError": "the hub was not reached, and it is not in the local cache",
}
"""By the name of what huggingface_hub raises; the special before the general."""


def describe(name: str, *, trust_remote_code: bool = False) -> ModelCard:
    """The card of a base model; nothing but its configuration and file headers is read.

    Raises ModelError when there is no such model, or only pickled weights.
    """
    path = THIMBLE if name == "thimble" else Path(name).expanduser()
    if path.is_dir():
        return _describe_folder(name, path.resolve(), trust_remote_code)
    if path.exists() or name.startswith((".", "/", "~")):
        if path.suffix == ".gguf":
            raise ModelError(f"base {name!r} is one file, and {other_weights.FROM_GGUF}")
        raise ModelError(
            f"base {name!r} is not a folder with a model. Expected config.json, *.safetensors and "
            "a tokenizer in it; give such a folder, a Hugging Face id, or 'thimble'."
        )
    return _describe_hub(name, trust_remote_code)


def _describe_folder(name: str, path: Path, trust_remote_code: bool) -> ModelCard:
    _refuse_adapter(name, path)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"base {name!r}: {path} holds no config.json, so it is not a model. Expected "
            "config.json, *.safetensors and a tokenizer."
        )
    weights = _weight_files(path)
    if not weights:
        raise ModelError(f"base {name!r}: {other_weights.refusal(path)}")
    config = configuration(str(path), trust_remote_code)
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


def _refuse_adapter(name: str, path: Path) -> None:
    """What PEFT writes is no model by itself."""
    weights = sorted(file.name for file in path.glob("*.safetensors"))
    told = path / "adapter_config.json"
    if weights != ["adapter_model.safetensors"] and (weights or not told.is_file()):
        return
    try:
        of = json.loads(told.read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        of = None
    raise ModelError(
        f"base {name!r}: {path} holds an adapter{f' of {of}' if of else ''}, not a model. Give the "
        "model itself, or merge both first (PEFT: merge_and_unload, then save_pretrained)."
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
            f"from the Hugging Face hub ({_hub_says(error, revision)}). Check the spelling, the "
            "network, or give a local folder."
        ) from error
    if not _weight_files(Path(folder)):
        found = other_weights.refusal_of_repository(repository, revision)
        raise ModelError(f"base {name!r}: {found}")
    return _describe_folder(name, Path(folder), trust_remote_code)


def _hub_says(error: Exception, revision: str) -> str:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    said = next((words for kind, words in HUB_SAYS.items() if kind in kinds), kinds[0])
    return said.format(revision=revision or "main")


def configuration(path: str, trust_remote_code: bool) -> Any:
    """As transformers reads it from a folder; ModelError where it cannot."""
    require_transformers()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # transformers raises many kinds
        raise ModelError(
            f"{path}: transformers cannot read its configuration: {reason(error).rstrip('.')}. "
            f"{_advice(Path(path), trust_remote_code)}"
        ) from error


def _advice(path: Path, trusted: bool) -> str:
    """Where transformers cannot read the configuration."""
    import transformers

    with suppress(ValueError):
        if not trusted and "auto_map" in json.loads(
            (path / "config.json").read_text("utf-8", "replace")
        ):
            return (
                "If the model brings its own code and you trust it, name the base in "
                "trust_remote_code of [model]."
            )
    return (
        f"If the model is newer than transformers {transformers.__version__}, upgrade that; else "
        "copy or download it again, or choose another."
    )


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
    """Tokens that a model of that configuration reads; ModelError where that is none."""
    reads = config.get_text_config(decoder=True)  # of a model that also sees, the part that reads
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        found = getattr(reads, key, None)
        if isinstance(found, int) and found >= 0:  # -1, for no limit, tells nothing
            if not found:
                raise ModelError(
                    f"{config.name_or_path}: {key} is 0 in its config.json. Expected how many "
                    "tokens it reads, 1 or more; copy or download it again."
                )
            return found
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
