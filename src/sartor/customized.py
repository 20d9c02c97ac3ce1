"""What `fit` made, as it is kept: whole or not, and found again on this machine.

customizations/<candidate>-<key>/     what `fit` wrote; files.json and customization.json last
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartor.data.files import digest, read_json, write_json, write_text
from sartor.errors import DataError, ModelError
from sartor.models.language_model import LanguageModel
from sartor.models.named import Names, paid_so_far
from sartor.models.remote import folder_of
from sartor.project import Model
from sartor.techniques.registry import build
from sartor.techniques.technique import RECORD, Customization

FILES = "files.json"
"""Sizes of all that `fit` wrote."""
PAID = "paid"
"""What providers of remote models had been paid before."""


def keep(made: Customization, folder: Path) -> None:
    """Write down that it is whole: the size of every file first, the record last."""
    write_json(folder / FILES, _sizes(folder))
    write_json(folder / RECORD, made)


def refuse_broken(made: Customization, project: Path) -> None:
    """DataError where files that `fit` wrote are gone or have changed in size."""
    folder = project / made.directory
    if not (folder / FILES).is_file():
        raise DataError(f"{folder} is gone, or not whole")
    found = _sizes(folder)
    for name, size in read_json(folder / FILES, dict[str, int]).items():
        if found.get(name) != size:
            now = f"has {found[name]} bytes, not {size}" if name in found else "is gone"
            raise DataError(f"{folder / name} {now}")


def paid_before(folder: Path) -> float:
    """What providers had been paid before `fit` began, in its first sitting."""
    path = folder / PAID
    if not path.is_file():
        write_text(path, str(paid_so_far()))
    return float(path.read_text("utf-8"))


def source_digest(own: object) -> str:
    """Of the file that a class of the user's was written in; empty for sartor's own."""
    if hasattr(own, "made_of"):  # it reads files or the user's code
        return str(own.made_of())
    kind = type(own)
    if kind.__module__.partition(".")[0] == "sartor":
        return ""
    try:
        return digest(Path(inspect.getfile(kind)).read_bytes())
    except (TypeError, OSError):  # made in a session, not in a file
        return ""


def rebuild(recipe: dict[str, Any], made: Customization, project: Path) -> LanguageModel:
    """The model of a recipe and what was made by it."""
    technique = build(recipe["technique"], recipe["settings"], recipe["defaults"])
    return technique.load(located(made, project))


def located(made: Customization, project: Path) -> Customization:
    """The customization with its folder and its base as they lie on this machine.

    Raises ModelError where the base is gone, or is another than it was made from.
    """
    made = replace(made, directory=str(project / made.directory))
    if made.base.remote is not None:
        return replace(made, base=replace(made.base, path=str(folder_of(made.base.name, project))))
    if Path(made.base.path).exists():
        return made
    name = made.base.name
    trusts = Model(base=name, trust_remote_code=made.base.trust_remote_code)
    base = Names(project, model=trusts).card(name)
    if base.revision != made.base.revision:
        raise ModelError(
            f"base {base.name!r} at {base.path} is not the one that this was made from: its "
            f"weights have digest {base.revision[:12]}, not {made.base.revision[:12]}. Run again."
        )
    return replace(made, base=base)


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file, by its path inside."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
