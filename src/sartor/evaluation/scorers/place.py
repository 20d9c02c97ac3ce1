"""Where a scorer works: the project whose files it reads, and the models it may ask."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from sartor.data.files import digest
from sartor.errors import SettingError
from sartor.models.language_model import LanguageModel


def local_base(name: str) -> LanguageModel:
    """The base model of that name, as it is, in this process."""
    from sartor.models.base_card import describe
    from sartor.models.local_model import LocalModel

    return LocalModel(describe(name))


def local_revision(name: str) -> str:
    """Digest of the weights and settings of the base model of that name."""
    from sartor.models.base_card import describe

    return describe(name).revision


@dataclass(frozen=True)
class Place:
    """A project as a scorer sees it."""

    folder: Path = Path()
    """Paths in settings are relative to it."""
    models: Callable[[str], LanguageModel] = local_base
    """A language model by the name that the project file gives it."""
    kept: Path | None = None
    """Folder in which answers of judges are kept, so that none is asked twice."""
    revision: Callable[[str], str] = local_revision
    """Digest of what a model's answers depend on, by the same names; nothing is loaded for it."""

    def file(self, scorer: str, setting: str, path: str) -> Path:
        """The file that a setting names; SettingError where there is none."""
        found = self.folder / Path(path).expanduser()
        if not path or not found.is_file():
            raise SettingError(
                f"scorer {scorer}: {setting} is {path!r}, and there is no such file in "
                f"{self.folder.resolve()}. Name a file, relative to the project's folder."
            )
        return found


class Placed:
    """What scorers share whose settings name files or models."""

    place: ClassVar[Place] = Place()

    def placed(self, place: Place) -> Self:
        """The same scorer, at work in a project."""
        other = copy.copy(self)
        object.__setattr__(other, "place", place)  # a scorer is frozen, and this is no setting
        return other


def digest_of(*files: Path | None) -> str:
    """Of the contents of files; those that are not there count as empty."""
    return digest(*(f.read_bytes() if f and f.is_file() else b"" for f in files))
