"""What every trained technique can be told about its training."""

from __future__ import annotations

import math
from typing import Literal

from pydantic.dataclasses import dataclass as settings

from sartor.errors import SettingError
from sartor.settings import STRICT

PACK = 3072
"""Tokens put through a model at once where there is memory for them."""
CHOSEN = {"pack_tokens": PACK, "checkpointing": "off", "optimizer_on_host": "off"}
"""Settings that are chosen by the memory there is unless they are given, and what they are where
there is enough; none changes a result."""


@settings(frozen=True, config=STRICT)
class TrainingSettings:
    """What every trained technique can be told about its training."""

    learning_rates: tuple[float, ...] = (2e-4, 1e-3)
    """Peaks to try; the best on validation trains. One value: no search."""
    epochs: float = 6.0
    """At most so many passes over the training examples."""
    max_tokens: int = 1_000_000
    """At most so many tokens are trained on (prompts included), however many epochs that is."""
    batch_size: int = 8
    """Examples an optimizer step."""
    together: int = 8
    """At most so many examples that begin alike, such as questions about one document, stand
    together: what they share is computed once. 1 leaves the order to chance."""
    pack_tokens: int | Literal["auto"] = "auto"
    """At most so many tokens are put through the model at once, on a CPU fewer where it is wide; a
    step's gradients are added up over as many packs as it takes. Bounds memory, changes no result.
    `auto` is 3,072, or fewer where memory needs it."""
    checkpointing: Literal["auto", "on", "off", "offload"] = "auto"
    """Keep only what goes into each block, and run it again on the way back: a third slower, for a
    fraction of the memory. `auto` does so where memory needs it; `offload` keeps that in the
    machine's memory instead of the GPU's, which `auto` chooses where nothing less fits."""
    optimizer_on_host: Literal["auto", "on", "off"] = "auto"
    """Keep what the optimizer holds of every value, and the best values so far, in the machine's
    memory instead of the GPU's, and make its steps there: slower. `auto` does so on a GPU where
    nothing less fits; on a CPU it changes nothing."""
    sharding: Literal["none", "full"] = "none"
    """Of several processes (`torchrun`), let each hold a part of the weights, of their gradients
    and of what the optimizer keeps, and a block's whole weights only while it runs: for what does
    not fit on one GPU. Slower; one process trains as without it."""
    plain: bool = False
    """Train as transformers alone would, in float32 and without what makes training fast: for
    comparison."""
    weight_decay: float = 0.0
    search_fraction: float = 0.15
    """Part of the steps that each learning rate is tried for."""
    looks: int = 10
    """How often the loss on validation is measured in a whole run."""
    patience: int = 3
    """Stop after so many looks without a better one."""
    save_minutes: float = 15.0
    """The state is written at every look, and after so many minutes without one: a run that is
    killed loses no more."""
    seed: int = 0

    @property
    def pack_size(self) -> int:
        """`pack_tokens`, as long as nothing else is chosen."""
        return PACK if self.pack_tokens == "auto" else self.pack_tokens

    def __post_init__(self) -> None:
        what = getattr(self, "name", "training")
        if not self.learning_rates or not all(0 < r < math.inf for r in self.learning_rates):
            raise SettingError(
                f"{what}: learning_rates is {list(self.learning_rates)}; give one or more positive "
                "numbers (1e-4 to 1e-2 is usual)"
            )
        for name in (
            "epochs",
            "max_tokens",
            "batch_size",
            "together",
            "pack_tokens",
            "looks",
            "patience",
            "save_minutes",
        ):
            if getattr(self, name) != "auto" and not getattr(self, name) > 0:
                raise SettingError(f"{what}: {name} is {getattr(self, name)}; it must be above 0")
        if not 0 < self.search_fraction <= 1:
            raise SettingError(
                f"{what}: search_fraction is {self.search_fraction}; it lies in (0, 1]"
            )
        if not self.weight_decay >= 0:
            raise SettingError(f"{what}: weight_decay is {self.weight_decay}; it must be 0 or more")
