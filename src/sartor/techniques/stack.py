"""Stacking: what is inside trains on top of an adapter that was trained before.

That one is folded into the base, in a copy of it; what is inside customizes the copy as it would
any other base. Without an earlier adapter it is made here, by the same technique on the same data:
Chain of LoRA, Xia et al. 2024, arXiv:2401.04151, section 3.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.files import digest
from sartor.data.records import TrainingData
from sartor.errors import SettingError
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.settings import STRICT
from sartor.techniques import weights
from sartor.techniques.earlier import contents, earlier
from sartor.techniques.full import keep_as_base, kept_base
from sartor.techniques.lora import LoRA
from sartor.techniques.stages import done_once
from sartor.techniques.technique import Customization
from sartor.techniques.trained import TrainedTechnique
from sartor.techniques.wrapping import around, innermost, load_inner, save_inner
from sartor.tracking.tracker import stage

FIRST, BASE = "first", "base"
"""Folders of the earlier stage and of the base that it makes."""


@dataclass(frozen=True, config=STRICT)
class Stack:
    """Folds an earlier adapter into the base, and trains what is inside on that."""

    name: ClassVar[str] = "stack"
    reads_documents: ClassVar[bool] = False
    needs_weights: ClassVar[bool] = True
    inner: Any = LoRA()
    """What is trained on top."""
    on: str = ""
    """Folder of the earlier LoRA adapter, PEFT's or one that sartor trained, relative to the
    project. Empty: what is inside is trained twice, the second time on top of the first."""

    def __post_init__(self) -> None:
        core = innermost(self.inner)
        inside = getattr(core, "name", type(core).__name__)
        if not isinstance(core, TrainedTechnique):
            raise SettingError(
                f"stack: {inside} inside it trains nothing. Put a technique that trains inside, "
                "such as 'stack+lora'."
            )
        if not self.on and hasattr(core, "virtual_tokens"):
            raise SettingError(
                f"stack: {inside} cannot be folded into a base, so nothing can be trained on top "
                "of it. Name an earlier adapter with `on`, or write 'stack+lora'."
            )

    def made_of(self) -> str:
        """Of the adapter that was trained before: what is on top of another is made again."""
        return contents(self.on) if self.on else ""

    def refuse(self, base: ModelCard) -> None:
        """ModelError where the earlier adapter is gone, broken, or of another base."""
        if self.on:
            earlier("stack", self.on, base, experts=True)

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Fold the earlier adapter in, and fit what is inside on what that makes."""
        first = self._first(base, data, directory)
        inner = save_inner(self.inner, kept_base(base, directory / BASE), data, directory)
        note = f"on top of {self.on or self.inner.name}"
        notes = (note, *first.notes) if not self.on else (note,)
        made = around(
            self, inner, directory, made_of=first.digest, seconds=first.seconds, note=notes[0]
        )
        return replace(
            made,
            base=base,
            peak_memory=max(first.peak_memory, inner.peak_memory),
            notes=(*notes, *inner.notes),
        )

    def load(self, customization: Customization) -> LanguageModel:
        """What is inside, on the base with the earlier adapter folded in."""
        card = kept_base(customization.base, Path(customization.directory) / BASE)
        return load_inner(self.inner, replace(customization, base=card))

    def _first(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """The earlier stage, whose base is kept, unless that was done."""
        made = self._adapter(base, data, directory)

        def fold() -> Customization:
            began = time.perf_counter()
            model: Any = weights.folded("stack", made, "") if self.on else self.inner.load(made)
            keep_as_base(innermost(model).network, base, directory / BASE)
            return replace(made, seconds=made.seconds + time.perf_counter() - began)

        return done_once(directory / FIRST, digest(base.revision, made.digest), fold)

    def _adapter(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """The record of the earlier adapter, found or trained."""
        if not self.on:
            with stage("first"):
                return save_inner(self.inner, base, data, directory / FIRST)
        found = earlier("stack", self.on, base, experts=True)
        return Customization("stack", base, str(found.folder), found.digest, 0, 0.0, 0)
