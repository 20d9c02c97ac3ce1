"""Merging: one adapter made of several, of the same base.

They are trained here, by tag or by seed, or were trained before. How they are put together is in
merging.py; with which weights, validation tells. What comes of it is an adapter like any other.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from sartor.data.files import digest
from sartor.data.records import Example, TrainingData
from sartor.errors import DataError, SettingError
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.memory import PeakMemory
from sartor.models.outline import empty_alike
from sartor.settings import STRICT, settings_of
from sartor.techniques import weights
from sartor.techniques.earlier import WEIGHTS, adapter_in, contents, earlier
from sartor.techniques.experts import LAYERS_ONLY, refuse_adapted
from sartor.techniques.lora import LoRA
from sartor.techniques.merging import How, Merging, Part
from sartor.techniques.preference_tuning import PreferenceTuning
from sartor.techniques.technique import Customization
from sartor.techniques.trained import with_instruction
from sartor.techniques.wrapping import innermost, save_inner
from sartor.tracking.tracker import stage

PARTS, REST = "parts", "the rest"


@dataclass(frozen=True, config=STRICT)
class Merge:
    """Trains what is inside several times, or takes adapters that are there, and merges them."""

    name: ClassVar[str] = "merge"
    reads_documents: ClassVar[bool] = False
    needs_weights: ClassVar[bool] = True
    inner: Any = LoRA()
    """What is trained for each part: `merge+lora`, `merge+dpo+lora`."""
    adapters: tuple[str, ...] = ()
    """Folders of LoRA adapters, PEFT's or ones that sartor trained, relative to the project. Given,
    nothing is trained."""
    by: Literal["tag", "seed"] = "tag"
    """Without them: an adapter for each tag of the training examples; or several on all examples
    that differ by their seed (model soups, arXiv:2203.05482)."""
    most: int = 4
    """Adapters by tag (those of most examples; one more for all other examples), or by seed."""
    how: How = "linear"
    """The exact sum; or dropping the smallest values and settling signs; or dropping at random."""
    density: float = 0.5
    """Part of the values that TIES and DARE keep."""
    weights: tuple[float, ...] = ()
    """Of each adapter, in order. Without: whichever has the lowest loss on validation of equal
    ones, ones by the number of examples, all at 1, and each adapter alone."""
    seed: int = 0
    """Draws what DARE drops."""

    def __post_init__(self) -> None:
        core = innermost(self.inner)
        direct = isinstance(self.inner, LoRA | PreferenceTuning)
        if not direct or not isinstance(core, LoRA) or core.dora:
            inside = "dora" if getattr(core, "dora", False) else getattr(self.inner, "name", "")
            raise SettingError(
                f"merge: {inside} inside it makes no plain LoRA adapter. Write 'merge+lora' or "
                "'merge+dpo+lora'; one that changes the prompt goes before: 'rag+merge+lora'."
            )
        if not 0 < self.density < 1:
            raise SettingError(
                f"merge: density is {self.density}; it lies between 0 and 1 (0.2 to 0.5 is usual)"
            )
        if self.most < 1 or (self.by == "seed" and self.most < 2):
            raise SettingError(f"merge: most is {self.most}; it must be 1 or more, 2 by seed")
        if self.weights and not any(self.weights):
            raise SettingError(
                "merge: weights are all 0; give one of them above 0, or leave them out"
            )
        if self.adapters and self.weights and len(self.weights) != len(self.adapters):
            raise SettingError(
                f"merge: {len(self.weights)} weights for {len(self.adapters)} adapters. Give one "
                "each, or none, which chooses them on validation."
            )

    def made_of(self) -> str:
        """Of the adapters that were trained before: what is made of others is made again."""
        return contents(*self.adapters) if self.adapters else ""

    def refuse(self, base: ModelCard) -> None:
        """ModelError where an adapter is gone, pickled, no LoRA, or of another base; TrainingError
        where those that would be trained are on a mixture's experts."""
        for name in self.adapters:
            earlier("merge", name, base)
        if self.adapters:
            return
        if (network := empty_alike(base, to_change=True)) is not None:
            config = innermost(self.inner).configured(network)
            model = weights.adapted("merge", network, config).model
            refuse_adapted("merge", model, f"{LAYERS_ONLY} under [techniques.lora].")

    def refuse_data(self, data: TrainingData) -> None:
        """DataError where there are no parts to train on, or not as many as weights."""
        if self.adapters or self.by == "seed":
            count = len(self.adapters) or self.most
        else:
            count = len(dict(self._by_tag(data)))
            if count < 2:
                raise DataError(
                    f"merge: the {len(data.train)} training examples have {count} kinds of tags. "
                    "Expected two or more, an adapter each. Give them `tags` (docs/formats.md), or "
                    'set `by = "seed"` or `adapters`.'
                )
        if self.weights and len(self.weights) != count:
            raise DataError(
                f"merge: {len(self.weights)} weights for {count} adapters. Give one each, or none."
            )

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Train what is to be merged, unless that was done, and keep the best merge."""
        self.refuse(base)
        self.refuse_data(data)
        parts = list(self._parts(base, data, directory))
        began = time.perf_counter()
        with PeakMemory() as memory:
            chosen, note = self._keep_best(parts, base, data, directory)
        trained = [part.made for part in parts if part.made]
        kept = earlier("merge", str(directory.absolute()), base)
        return Customization(
            technique=self.name,
            base=base,
            directory=str(directory),
            digest=digest(
                base.revision, settings_of(self), chosen, (directory / WEIGHTS).read_bytes()
            ),
            trainable_parameters=kept.values,
            seconds=sum(made.seconds for made in trained) + time.perf_counter() - began,
            peak_memory=max([memory.peak, *(made.peak_memory for made in trained)]),
            notes=(note,),
        )

    def load(self, customization: Customization) -> LanguageModel:
        """The base with the merged adapter folded in."""
        return weights.folded(self.name, customization, innermost(self.inner).system)

    def _keep_best(
        self, parts: Sequence[Part], base: ModelCard, data: TrainingData, directory: Path
    ) -> tuple[tuple[float, ...], str]:
        """Leave the best merge in `directory`; its weights, and a note of them."""
        merging = Merging(base, parts, self.how, self.density, self.seed)
        choices = [self.weights] if self.weights else merging.choices()
        best, loss = choices[0], ""
        if len(choices) > 1:
            told = with_instruction(data, innermost(self.inner).system)
            watched = merging.read(told.validation)
            at_once = innermost(self.inner).pack_size
            losses = [merging.loss(choice, watched, at_once) for choice in choices]
            if min(losses) == math.inf:
                watched = merging.with_a_loss(watched, choices)
                losses = [merging.loss(choice, watched, at_once) for choice in choices]
            best = choices[losses.index(min(losses))]
            loss = f", validation loss {min(losses):.3f}"
        merging.keep(best, directory)
        return best, f"{len(parts)} adapters by {', '.join(f'{w:.3g}' for w in best)}{loss}"

    def _parts(self, base: ModelCard, data: TrainingData, directory: Path) -> Iterator[Part]:
        for name in self.adapters:
            yield Part(earlier("merge", name, base), 1)
        if self.adapters:
            return
        technique: Any = self.inner
        told = [(str(seed), data) for seed in range(self.most)]
        for number, (_, part) in enumerate(told if self.by == "seed" else self._by_tag(data)):
            folder = directory / PARTS / str(number)
            if self.by == "seed":
                technique = _seeded(self.inner, innermost(self.inner).seed + number)
            with stage(f"adapter {number + 1}"):
                made = save_inner(technique, base, part, folder)
            found = adapter_in(Path(made.directory)).absolute()
            yield Part(earlier("merge", str(found), base), len(part.train), made)

    def _by_tag(self, data: TrainingData) -> Iterator[tuple[str, TrainingData]]:
        """Each example with the first of the most frequent tags that it has."""
        counts = Counter(tag for example in data.train for tag in example.tags)
        tags = sorted(counts, key=lambda tag: (-counts[tag], tag))[: self.most]

        def of(example: Example) -> str:
            return next((tag for tag in tags if tag in example.tags), REST)

        for tag in (*tags, REST):
            train, held, disliked = (
                tuple(e for e in part if of(e) == tag)
                for part in (data.train, data.validation, data.disliked)
            )
            if train:
                held = held or data.validation
                yield tag, replace(data, train=train, validation=held, disliked=disliked)


def _seeded(technique: Any, seed: int) -> Any:
    if hasattr(technique, "inner"):
        return replace(technique, inner=_seeded(technique.inner, seed))
    return replace(technique, seed=seed)
