"""A trial: a candidate on one base, its technique built, refused where it cannot work, customized.
What came of it is asked and scored by examined.py. Each part is kept, and not made twice.

    customizations/<candidate>-<key>/     what `fit` made; files.json and customization.json last

A folder is named by the digest of what it was made from, its base included, so a changed candidate
makes new ones, and going back to earlier settings, or to fewer bases, finds the old. Of the data a
customization is made from what its technique reads: documents only where it reads documents.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sartor import __version__
from sartor.crossing import Crossed
from sartor.customized import keep, paid_before, refuse_broken, source_digest
from sartor.data.files import digest, read_json
from sartor.data.records import TrainingData
from sartor.errors import DataError, ModelError, SettingError
from sartor.models.language_model import ModelCard
from sartor.models.named import card_named, paid_so_far
from sartor.progress import say
from sartor.project import Candidate
from sartor.settings import settings_of
from sartor.techniques.estimating.drawn import layers
from sartor.techniques.estimating.fitting import refuse_data_too_large, refuse_too_large
from sartor.techniques.registry import build, spelled_out
from sartor.techniques.technique import RECORD, Customization, Technique
from sartor.workspace import Workspace


@dataclass(frozen=True)
class Trial:
    """A candidate of the project file on one of its bases, with its technique built."""

    crossed: Crossed
    technique: Technique
    defaults: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, crossed: Crossed, defaults: dict[str, dict[str, Any]], seed: int) -> Trial:
        """Build the technique; the project's seed is its seed unless it names one."""
        candidate = crossed.candidate
        seeded = _seeded(candidate.technique, defaults, seed)
        return cls(crossed, build(candidate.technique, candidate.settings, seeded), seeded)

    @property
    def candidate(self) -> Candidate:
        return self.crossed.candidate

    def seeded(self, seed: int) -> Trial:
        """The same candidate trained with another seed; SettingError where it takes none."""
        defaults = {
            name: {key: value for key, value in given.items() if key != "seed"}
            for name, given in self.defaults.items()
        }
        given = {key: value for key, value in self.candidate.settings.items() if key != "seed"}
        own = self.candidate
        one = Candidate(
            name=f"{own.name}.seed{seed}", technique=own.technique, base=own.base, **given
        )
        named = replace(self.crossed, candidate=one, name=f"{self.name}.seed{seed}")
        made = Trial.of(named, defaults, seed)
        if not any("seed" in given for given in made.defaults.values()):
            raise SettingError(
                f"{self.name}: seeds were given, and {self.candidate.technique} takes no seed: "
                "it comes out the same each time. Leave `seeds` out."
            )
        return made

    @property
    def name(self) -> str:
        """As reports and releases have it: with its base, where the project has several."""
        return self.crossed.name

    @property
    def base(self) -> str:
        """As the project writes it."""
        return self.crossed.base

    @property
    def recipe(self) -> dict[str, Any]:
        """What `rebuild` makes the technique from."""
        return {
            "technique": self.candidate.technique,
            "settings": self.candidate.settings,
            "defaults": self.defaults,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the technique, defaults included."""
        return settings_of(self.technique)

    def needs_weights(self) -> str:
        """The technique in it that cannot work on a remote model; empty where there is none."""
        needy = (one.name for one in layers(self.technique) if getattr(one, "needs_weights", False))
        return next(needy, "")

    def refuse(self, base: ModelCard) -> None:
        """ModelError where the technique, or one inside it, says that it cannot work here."""
        if base.remote is not None and (needy := self.needs_weights()):
            raise ModelError(
                f"{self.name}: {needy} trains weights, and base {base.name!r} is a remote model, "
                "whose weights are not here. Try zero-shot, few-shot or rag on it, or give this "
                'candidate another base: { technique = "...", base = "..." }'
            )
        for layer in layers(self.technique):
            if hasattr(layer, "refuse"):
                layer.refuse(base)
        if base.remote is None:
            refuse_too_large(self.technique, base)

    def sources(self) -> str:
        """Of what the technique, and those inside it, are made of beside settings and data."""
        return "".join(source_digest(layer) for layer in layers(self.technique))

    def _asks(self) -> list[str]:
        """Revisions of the other models whose answers the technique learns from."""
        named = (name for layer in layers(self.technique) for name in getattr(layer, "asks", ()))
        return [card_named(name).revision for name in named]

    def refuse_data(self, data: TrainingData, base: ModelCard | None = None) -> None:
        """DataError where the technique, or one inside it, says that it needs other examples;
        ModelError where training `base` on these would clearly not fit this machine."""
        for layer in layers(self.technique):
            if hasattr(layer, "refuse_data"):
                layer.refuse_data(data)
        if base is not None and base.remote is None:
            refuse_data_too_large(self.technique, base, data)

    def customize(self, base: ModelCard, training: Training, workspace: Workspace) -> Customization:
        """Fit, unless that was done; its folder is named relative to the project."""
        folder = self.folder(base, training, workspace)
        record = folder / RECORD
        if record.is_file():
            try:
                made = read_json(record, Customization)
                refuse_broken(made, workspace.project)
            except DataError as error:
                say(f"{self.name}: made again: {error}")
                shutil.rmtree(folder)
            else:
                return replace(made, base=base)
        folder.mkdir(parents=True, exist_ok=True)
        before = paid_before(folder)
        made = self.technique.fit(base, training.data, folder)
        made = replace(
            made,
            directory=str(folder.relative_to(workspace.project)),
            paid=paid_so_far() - before,
        )
        keep(made, folder)
        return made

    def folder(self, base: ModelCard, training: Training, workspace: Workspace) -> Path:
        """Where its customization is, or would be, kept."""
        made_of = (self.recipe["technique"], self.settings, self.sources())
        others = self._asks()
        key = digest(__version__, made_of, base.revision, training.read_by(self.technique), *others)
        return workspace.folder("customizations", f"{self.candidate.name}-{key[:12]}")


@dataclass(frozen=True)
class Training:
    """What techniques may learn from, with digests of its parts; documents without the time at
    which they were collected, which teaches nothing."""

    data: TrainingData
    examples: str
    documents: str

    @classmethod
    def of(cls, data: TrainingData) -> Training:
        examples = digest(data.train, data.validation, data.disliked)
        untimed = tuple(replace(document, collected_at="") for document in data.documents)
        return cls(replace(data, documents=untimed), examples, digest(untimed))

    def read_by(self, technique: Any) -> tuple[str, str]:
        """Digests of what a technique, and those inside it, are made from."""
        while technique is not None:
            if getattr(technique, "reads_documents", True):
                return self.examples, self.documents
            technique = getattr(technique, "inner", None)
        return self.examples, ""


def _seeded(
    technique: str, defaults: dict[str, dict[str, Any]], seed: int
) -> dict[str, dict[str, Any]]:
    """Settings of each technique named, with the seed where the technique takes one."""
    from dataclasses import fields

    seeded = dict(defaults)
    for name in spelled_out(technique):
        kind = build(name)
        if any(field.name == "seed" for field in fields(kind)):  # type: ignore[arg-type]
            seeded[name] = {"seed": seed, **defaults.get(name, {})}
    return {name: seeded[name] for name in sorted(seeded)}
