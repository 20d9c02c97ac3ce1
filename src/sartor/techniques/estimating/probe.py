"""Techniques tried on this machine for some seconds: time and memory, before weights are needed.

Copies of the base with few of its layers (thin.py) are customized (copies.py) and asked
(copies_asked.py), with the project's own examples (rehearsal.py). What more layers add, times the
layers, is the whole. What was tried once serves every candidate that does the same, now and the
next time.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sartor import __version__
from sartor.data.files import digest, read_json, write_json
from sartor.data.records import Conversation, TrainingData
from sartor.errors import DataError
from sartor.models import local, runnable
from sartor.models.devices import signature
from sartor.models.language_model import ModelCard
from sartor.models.memory import give_back, held
from sartor.models.outline import configuration
from sartor.progress import Silent, shown_by
from sartor.settings import settings_of
from sartor.techniques.estimating.copies import Copy, Customized
from sartor.techniques.estimating.copies_asked import Answered, answered, described, loaded
from sartor.techniques.estimating.drawn import Drawn
from sartor.techniques.estimating.rehearsal import Rehearsal, rehearsal
from sartor.techniques.estimating.thin import (
    LARGEST,
    ByLayers,
    counts,
    layers_changed,
    refuse_unlike,
    thin,
)
from sartor.techniques.wrapping import innermost
from sartor.training.loop import TrainingSettings


@dataclass(frozen=True, slots=True)
class Probed:
    """What a technique takes on a base, on this machine; without searching, which needs no base."""

    seconds_to_prepare: float
    """Loading, setting up, and writing what was trained."""
    seconds_a_token: float
    """Trained on, forward and back; its part of the optimizer's step included."""
    seconds_a_look: float
    """At `held_tokens` of validation, forward only, and to write the state down."""
    held_tokens: int
    seconds_a_prompt_token: float
    seconds_a_new_token: float
    """Of answers that are written together, all of them counted."""
    customizing_bytes: float
    """Tensors that are there at once while training, at most."""
    answering_bytes: float
    """The same while answering, with so many new tokens as copies_asked.COUNTED says."""
    kept_bytes: float
    """All keys and values of answers that are being written."""
    laid_out_bytes: float
    """Weights that are laid out anew for many answers, if they are few (models/products.py)."""
    set_aside_bytes: float
    """What the process took beside tensors while these were tried: libraries that were loaded for
    it, their own buffers, and memory that is free but scattered."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of one copy."""

    customized: Customized
    loading: float
    answered: Answered


class Probe:
    """A base on this machine; a `with` block, at whose end its copies are deleted.

    `kept` is a folder for what was found, which is not tried again on this machine.
    """

    def __init__(self, card: ModelCard, kept: Path | None = None) -> None:
        self.card = card
        self.kept = kept
        self._failed = False
        self._copies: dict[int, ModelCard] = {}
        self._customized: dict[str, Customized] = {}
        self._answered: dict[str, Answered] = {}
        self._folder = tempfile.TemporaryDirectory()

    @cached_property
    def resident(self) -> int:
        """Bytes that the process held before anything was tried, at the first call."""
        give_back()
        return held()

    def __enter__(self) -> Probe:
        # memory is collected before each try: what is there already need not be gone through
        gc.collect()
        gc.freeze()
        return self

    def __exit__(self, *failure: object) -> None:
        gc.unfreeze()
        self._folder.cleanup()

    def of(
        self, technique: Any, data: TrainingData, drawn: Drawn, tokenizer: Any,
        prompts: Sequence[Conversation],
    ) -> Probed:  # fmt: skip
        """Try the innermost technique; `prompts` are requests as they will be put to it.

        Raises ValueError where copies of few layers say nothing about the base, and whatever the
        technique raises where it cannot work on it.
        """
        refuse_unlike(self.card)
        core = innermost(technique)
        trains = isinstance(core, TrainingSettings)
        parts = rehearsal(drawn, core, data, tokenizer, self.card) if trains else None
        done = parts.key if parts else ""
        key = digest(__version__, signature(), self.card.revision, self.card.parameters,
                     settings_of(core), done, list(prompts))  # fmt: skip
        if (found := self._remembered(key)) is None:
            try:
                with shown_by(Silent()):
                    found = self._tried(core, parts, data, prompts)
            except Exception:
                self._failed = True
                raise
            self._remember(key, found)
        return found

    def fault(self) -> str:
        """What a run would say of a base that it cannot run, empty where nothing is found. Asked of
        the base itself where it is small, and where a copy failed: that may be the copy's fault."""
        small = self.card.parameters <= LARGEST[local.device().type]
        return runnable.fault(self.card, loaded=small or self._failed)

    def _remembered(self, key: str) -> Probed | None:
        if self.kept is None or not (path := self.kept / f"{key}.json").is_file():
            return None
        try:
            return read_json(path, Probed)
        except DataError:  # broken: it is tried again, and written anew
            return None

    def _remember(self, key: str, found: Probed) -> None:
        if self.kept is None:
            return
        try:
            write_json(self.kept / f"{key}.json", found)
        except DataError:  # a folder that cannot be written in: it is tried again the next time
            self.kept = None

    def _tried(
        self, core: Any, parts: Rehearsal | None, data: TrainingData,
        prompts: Sequence[Conversation],
    ) -> Probed:  # fmt: skip
        layers, changed = configuration(self.card).num_hidden_layers, layers_changed(core)
        few, more = counts(layers)
        seen = [
            self._copy(core, parts, data, prompts, count, upper)
            for count, upper in ((few, few), (more, more), *([(more, few)] if changed else []))
        ]

        def whole(of: Callable[[_Seen], float]) -> float:
            return ByLayers((few, more), *map(of, seen)).of(layers, changed)

        return Probed(
            seconds_to_prepare=whole(lambda one: one.customized.preparing + one.loading),
            seconds_a_token=whole(lambda one: one.customized.token),
            seconds_a_look=whole(lambda one: one.customized.look),
            held_tokens=parts.held_tokens if parts else 0,
            seconds_a_prompt_token=whole(lambda one: one.answered.read),
            seconds_a_new_token=whole(lambda one: one.answered.written),
            customizing_bytes=whole(lambda one: one.customized.tensors),
            answering_bytes=whole(lambda one: one.answered.tensors),
            kept_bytes=whole(lambda one: one.answered.kept),
            laid_out_bytes=whole(lambda one: one.answered.laid_out),
            set_aside_bytes=max(
                max(one.customized.set_aside, one.answered.set_aside) for one in seen
            ),
        )

    def _copy(
        self, core: Any, parts: Rehearsal | None, data: TrainingData,
        prompts: Sequence[Conversation], layers: int, changed: int,
    ) -> _Seen:  # fmt: skip
        """Customize and ask a copy, unless one that did the same was."""
        folder = Path(self._folder.name)
        if layers not in self._copies:
            self._copies[layers] = thin(self.card, layers, folder / str(layers))
        limited = {"upper_layers": changed} if layers_changed(core) else {}
        core = replace(core, **limited) if limited else core
        done = digest(layers, settings_of(core), parts.key if parts else "")
        copy = Copy(core, self._copies[layers], folder / done, self.resident)
        if done not in self._customized:
            self._customized[done] = copy.customized(parts, data)
        customized = self._customized[done]
        model = loaded(core, customized.made, self.resident)
        like = digest(layers, described(model.model) or done, list(prompts))
        if like not in self._answered:
            self._answered[like] = answered(copy.card, model, prompts)
        return _Seen(customized, model.seconds, self._answered[like])
