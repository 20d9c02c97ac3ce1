"""Adapters that were trained before, by sartor or others: found, and refused where they do not fit.

Only their configuration and file headers are looked into; of their weights, the digest is taken.
PEFT's own format of LoRA is what can be read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.data.files import content_digest, digest
from sartor.errors import ModelError
from sartor.models import base_card
from sartor.models.language_model import ModelCard
from sartor.models.named import folder_named
from sartor.models.outline import configuration, empty_network
from sartor.techniques.experts import module_of
from sartor.techniques.weights import CONFIG
from sartor.techniques.wrapping import INNER

WEIGHTS, PREFIX = "adapter_model.safetensors", "base_model.model."
PICKLED = ("adapter_model.bin", "*.pt", "*.pth", "*.pkl")


@dataclass(frozen=True)
class Earlier:
    """An adapter, and what of it merging asks for."""

    folder: Path
    digest: str
    rank: int
    """The largest of its layers."""
    narrowest: int
    """Inputs or outputs of its narrowest layer."""
    values: int
    """How many it holds."""


def adapter_in(folder: Path) -> Path:
    """The folder itself, or the one of the technique inside, of what sartor made."""
    while not (folder / CONFIG).is_file() and (folder / INNER).is_dir():
        folder = folder / INNER
    return folder


def contents(*names: str) -> str:
    """Digest of the adapters in these folders, as they are now: one trained anew in its place is
    another. Files that are not there count as empty."""
    files = [adapter_in(folder_named(name)) / file for name in names for file in (CONFIG, WEIGHTS)]
    return digest(*(content_digest(file) for file in files))


def earlier(what: str, name: str, base: ModelCard, *, experts: bool = False) -> Earlier:
    """The adapter in the folder `name`, relative to the project; ModelError where there is none, it
    is pickled, of another kind, or of another base, and unless `experts` may be, where it is on a
    mixture's experts that are kept as one tensor."""
    folder = adapter_in(folder_named(name))
    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"{what}: {folder} holds no {CONFIG}. Expected the folder of a LoRA adapter as PEFT "
            "keeps it, or of a candidate that sartor trained; give its path, relative to the "
            "project."
        )
    if not (folder / WEIGHTS).is_file():
        pickled = [path.name for kind in PICKLED for path in sorted(folder.glob(kind))]
        found = f"only {pickled[0]}" if pickled else "no weights"
        raise ModelError(
            f"{what}: {folder} holds {found}. Expected {WEIGHTS}: loading pickled weights can run "
            "code. Convert it once with PEFT on a machine you trust: "
            "PeftModel.from_pretrained(model, folder).save_pretrained(new_folder)."
        )
    try:
        told = json.loads((folder / CONFIG).read_text("utf-8"))
        shapes = _shapes(folder / WEIGHTS)
        if not isinstance(told, dict):
            raise ValueError("configuration kind")
    except (ValueError, struct.error) as error:
        raise ModelError(f"{what}: the adapter in {folder} is broken. Copy it again.") from error
    _refuse_other_kinds(what, folder, told, shapes)
    _refuse_other_base(what, folder, str(told.get("base_model_name_or_path") or ""), shapes, base)
    if not experts:
        _refuse_experts(what, folder, told, shapes, base)
    ranks = [shape[0] for name, shape in shapes.items() if name.endswith(".lora_A.weight")]
    sides = [shape[1] if ".lora_A." in name else shape[0] for name, shape in shapes.items()]
    key = digest(content_digest(folder / CONFIG), content_digest(folder / WEIGHTS))
    values = sum(shape[0] * shape[1] for shape in shapes.values())
    return Earlier(folder, key, max(ranks), min(sides), values)


def _shapes(path: Path) -> dict[str, list[int]]:
    """Of every tensor, from the header of a safetensors file."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > path.stat().st_size:
            raise ValueError("header length")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("header kind")
    header.pop("__metadata__", None)
    shapes: dict[str, list[int]] = {}
    for name, one in header.items():
        shape = one.get("shape") if isinstance(one, dict) else None
        if not isinstance(shape, list) or not all(isinstance(extent, int) for extent in shape):
            raise ValueError("header shapes")
        shapes[name] = shape
    return shapes


def _refuse_other_kinds(
    what: str, folder: Path, told: Mapping[str, Any], shapes: Mapping[str, list[int]]
) -> None:
    pairs = shapes and all(
        name.endswith((".lora_A.weight", ".lora_B.weight")) and len(shape) == 2
        for name, shape in shapes.items()
    )
    if told.get("peft_type") != "LORA" or not pairs:
        kind = "DORA" if told.get("use_dora") else told.get("peft_type")
        other = [
            name for name, shape in shapes.items()
            if ".lora_" not in name or ".lora_magnitude" in name or len(shape) != 2
        ]  # fmt: skip
        more = f" with {other[0]}" if other else ""
        raise ModelError(
            f"{what}: the adapter in {folder} is of the kind {kind}{more}. Expected LoRA, pairs of "
            "thin matrices and nothing more. Give one that was trained so, without DoRA, biases "
            "and modules_to_save."
        )


def _refuse_other_base(
    what: str, folder: Path, made_for: str, shapes: Mapping[str, list[int]], base: ModelCard
) -> None:
    """By its layers; and by the base it names, where that is a folder here."""
    known = _linears(base)
    for name, shape in shapes.items():
        layer, _, part = name.removeprefix(PREFIX).rpartition(".lora_")
        side = shape[1] if part.startswith("A") else shape[0]
        if side not in known.get(layer := module_of(layer), ()):
            has = f"is {known[layer]} there" if layer in known else "is none of its layers"
            raise ModelError(
                f"{what}: the adapter in {folder} is of another base than {base.name}: it adapts "
                f"{layer}, of size {side}, which {has}. Give one that was trained on this base."
            )
    if (Path(made_for) / "config.json").is_file():
        other = base_card.describe(made_for, trust_remote_code=base.trust_remote_code)
        if other.revision != base.revision:
            raise ModelError(
                f"{what}: the adapter in {folder} was trained on {made_for}, whose weights are "
                f"others than those of {base.name}. Give one that was trained on this base."
            )


def _refuse_experts(
    what: str, folder: Path, told: Mapping[str, Any], shapes: Mapping[str, list[int]],
    base: ModelCard,
) -> None:  # fmt: skip
    adapted = {module_of(n.removeprefix(PREFIX).rpartition(".lora_")[0]) for n in shapes}
    if found := sorted(adapted & _stacks(base).keys()):
        raise ModelError(
            f"{what}: the adapter in {folder} is on {found[0]}, which holds all its experts as one "
            "tensor, and such cannot be put together. Expected one on layers only; train it with "
            '`target_modules = ["q_proj", "v_proj"]` or such.'
        )
    if named := told.get("target_parameters"):
        raise ModelError(
            f"{what}: the adapter in {folder} is on {named[0]} by the name of its weight, and such "
            "cannot be put together. Expected one on layers by their own names; train it with "
            '`target_modules = ["q_proj", "v_proj"]` or such.'
        )


def _linears(base: ModelCard) -> dict[str, tuple[int, ...]]:
    """The two sizes of every matrix of the base, by its layer's name; and of experts."""
    modules = empty_network(base, configuration(base)).named_modules()
    weights = ((name, getattr(module, "weight", None)) for name, module in modules)
    matrices = {name: tuple(w.shape) for name, w in weights if w is not None and w.dim() == 2}
    return matrices | _stacks(base)


def _stacks(base: ModelCard) -> dict[str, tuple[int, ...]]:
    """All sizes that matrices of a stack of experts have, by the module that holds it."""
    found: dict[str, tuple[int, ...]] = {}
    for name, weight in empty_network(base, configuration(base)).named_parameters():
        if weight.dim() == 3:
            module = name.rpartition(".")[0]
            found[module] = (*found.get(module, ()), *weight.shape[1:])
    return found
