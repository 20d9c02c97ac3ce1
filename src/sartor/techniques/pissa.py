"""PiSSA: adapters begin as the base's largest singular vectors, which are taken out of the base.

By PEFT's `init_lora_weights="pissa"`. What is kept is what the adapters came to less what they
began as: an adapter of twice the rank, on the base as it was. Meng et al. 2024, arXiv:2404.02948.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartor.errors import TrainingError
from sartor.techniques.weights import Prepared, write_adapter
from sartor.training.state import writing

INITIAL = "initial"
"""Folder of the adapters as they began, while they are trained."""


def refuse_wide(model: Any, rank: int) -> None:
    """TrainingError where a layer's matrix has fewer singular vectors, one for each place of its
    smaller side."""
    for name, module in model.named_modules():
        side = min(module.in_features, module.out_features) if hasattr(module, "lora_A") else 0
        if 0 < side < rank:
            layer = name.removeprefix("base_model.model.")
            raise TrainingError(
                f"lora: initialization 'pissa': rank is {rank}, and {layer} has only {side} "
                "singular vectors. Lower the rank, or leave initialization out."
            )


def kept_as_plain(prepared: Prepared, directory: Path) -> Prepared:
    """Written as a plain adapter, once they are trained."""
    model = prepared.model
    model.peft_config["default"].init_lora_weights = True
    with writing(directory / INITIAL):
        model.save_pretrained(directory / INITIAL)

    def save(folder: Path) -> None:
        write_adapter(
            model, folder, path_initial_model_for_weight_conversion=str(directory / INITIAL)
        )
        shutil.rmtree(directory / INITIAL)

    return replace(prepared, save=save)
