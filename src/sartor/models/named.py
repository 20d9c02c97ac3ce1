"""Models by the name that a project calls them: `thimble`, a folder, a hub id, a remote one.

    with Names(folder, file).in_use():
        open_model("gpt-mini").generate(...)     # anywhere inside, a technique's `fit` too

Which names there are is the project file's; what stands for them is base_card.py's and remote.py's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sartor.errors import ModelError
from sartor.models import base_card, local, remote
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.remote_tokens import CountingTokenizer
from sartor.project import Model, ProjectFile, Remote


@dataclass(frozen=True)
class Names:
    """What a project's names stand for."""

    project: Path = Path()
    remotes: dict[str, Remote] = field(default_factory=dict)
    model: Model = Model()  # noqa: RUF009 - frozen

    @classmethod
    def of(cls, project: Path, file: ProjectFile) -> Names:
        return cls(project, file.remote, file.model)

    def card(self, name: str) -> ModelCard:
        """The card of a model; nothing is loaded. ModelError where there is no such model."""
        if name in self.remotes:
            return remote.described(name, self.remotes[name], self.project)
        inside = self.project / name
        trusted = self.model.trusts(name)
        if name != "thimble" and not Path(name).is_absolute() and inside.is_dir():
            return replace(base_card.describe(str(inside), trust_remote_code=trusted), name=name)
        try:
            return base_card.describe(name, trust_remote_code=trusted)
        except ModelError as error:
            near = difflib.get_close_matches(name, self.remotes, 1)
            if not near:
                raise
            raise ModelError(f"{error} Or did you mean the remote model {near[0]!r}?") from error

    def paid(self) -> float:
        """To providers of all remote models so far, in the project's currency."""
        return sum(remote.paid(self.card(name)) for name in self.remotes)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let `card_named` and `open_model` know these names inside the block."""
        token = _in_use.set(self)
        try:
            yield
        finally:
            _in_use.reset(token)


_in_use: ContextVar[Names | None] = ContextVar("names", default=None)


def card_named(name: str) -> ModelCard:
    """The card of a model by the name that the project in use has for it."""
    return (_in_use.get() or Names()).card(name)


def folder_named(name: str) -> Path:
    """The folder by that path, which is relative to the project in use."""
    return (_in_use.get() or Names()).project / Path(name).expanduser()


def paid_so_far() -> float:
    """To providers of all remote models that the project in use names."""
    return (_in_use.get() or Names()).paid()


def open_model(model: str | ModelCard) -> LanguageModel:
    """A bare model, ready to answer, by its name or its card."""
    card = card_named(model) if isinstance(model, str) else model
    if card.remote is not None:
        return remote.RemoteModel(card)
    from sartor.models.local_model import LocalModel

    return LocalModel(card)


def tokenizer_of(card: ModelCard) -> Any:
    """A base's tokenizer; of a remote one what counts in place of it."""
    return CountingTokenizer() if card.remote is not None else local.load_tokenizer(card)
