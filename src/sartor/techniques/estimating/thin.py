"""Copies of a base with few of its layers: what a layer costs is what another one adds.

Their weights are drawn at random: matrix products take no less time for it. Made for the probe
(probe.py), from the base's configuration alone.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from sartor.errors import SartorError
from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.models.libraries import reason
from sartor.models.outline import configuration, empty_network

LARGEST = {"cpu": 1 << 28, "cuda": 1 << 31}
"""Parameters of a copy; larger ones would take minutes and gigabytes to try."""
ALIKE = 0.2
"""How far the parameters of one layer, times the layers, may be from all there are."""
NOT_COPIED = (".safetensors", ".bin", ".pt", ".gguf", ".index.json")


@dataclass(frozen=True, slots=True)
class ByLayers:
    """What was measured on a copy of few layers, on one of more, both changed throughout, and on
    one of more of which only the few uppermost are changed."""

    counts: tuple[int, int]
    """Layers of the copies."""
    few: float
    more: float
    upper: float | None = None

    def of(self, layers: int, changed: int | None = None) -> float:
        """For all layers, of which `changed` are, the uppermost; all where that is not said."""
        few, more = self.counts
        changed = layers if changed is None else min(changed, layers)
        each = max(0.0, self.more - self.few) / (more - few)
        other = each if self.upper is None else max(0.0, self.upper - self.few) / (more - few)
        return self.few + (changed - few) * each + (layers - changed) * other


def counts(layers: int) -> tuple[int, int]:
    """Layers of the copies that stand for a base of so many. Of a single one no more can be told,
    since what else there is hides what it takes at most."""
    return (2, 4) if layers >= 4 else (1, 2)


def refuse_unlike(card: ModelCard) -> None:
    """ValueError for a base that copies of few layers say nothing about."""
    config = configuration(card)
    few, more = (_parameters(empty_network(card, config, n)) for n in (1, 2))
    layers, each = config.num_hidden_layers, more - few
    largest, tried = LARGEST[local.device().type], few + (counts(layers)[1] - 1) * each
    if tried > largest:
        raise ValueError(f"a copy of few layers has {tried:,} parameters, too many to try")
    if abs((few + (layers - 1) * each) / card.parameters - 1) > ALIKE:
        raise ValueError("its layers differ")


def thin(card: ModelCard, layers: int, folder: Path) -> ModelCard:
    """Write a copy with so many layers; its card, which tells of the whole base's parameters, since
    they decide the precision that it answers in."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in Path(card.path).iterdir():
        if file.is_file() and not file.name.endswith(NOT_COPIED):
            shutil.copyfile(file, folder / file.name)
    try:
        _write_network(card, layers, folder)
    except (SartorError, OSError):
        raise
    except Exception as error:  # transformers raises many kinds
        raise ValueError(f"no copy of {layers} layers can be made: {reason(error)}") from error
    return replace(card, path=str(folder), revision=f"{layers} layers of {card.revision}")


def _write_network(card: ModelCard, layers: int, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    config = empty_network(card, configuration(card), layers).config
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(
        config, trust_remote_code=card.trust_remote_code, dtype=local.stored_dtype(card)
    )
    made.save_pretrained(folder)


def layers_changed(technique: Any) -> int | None:
    """How many of the uppermost layers a technique changes; None for all."""
    known = {field.name for field in fields(technique)}
    return technique.upper_layers if "upper_layers" in known else None


def _parameters(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
