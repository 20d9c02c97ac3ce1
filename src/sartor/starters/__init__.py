"""Starter projects that ship with the package: documents, examples and a sartor.toml to begin with.

Each folder beside this file is one use case; its ATTRIBUTION.md says where the data is from.
Made by benchmarks/make_starter.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sartor.errors import ProjectError

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The use cases there is a starter for."""
    return sorted(path.parent.name for path in FOLDER.glob("*/examples.jsonl"))


def copy(name: str, destination: Path) -> None:
    """Copy a starter into `destination`, which must be missing or empty."""
    if name not in names():
        raise ProjectError(
            f"there is no starter {name!r}. Choose one of: {', '.join(names())}; "
            "or bring your own data with --documents and --examples."
        )
    try:
        if destination.exists() and any(destination.iterdir()):
            raise ProjectError(
                f"{destination} is not empty, and a starter would mix with what is there. "
                "Give an empty folder, or one that does not exist yet."
            )
        shutil.copytree(
            FOLDER / name, destination, dirs_exist_ok=True, copy_function=shutil.copyfile
        )
    except NotADirectoryError as error:
        raise ProjectError(
            f"{destination} is a file, and a starter needs a folder. Give another path."
        ) from error
    except (OSError, shutil.Error) as error:
        raise ProjectError(
            f"cannot write the starter to {destination}: {error}. "
            "Free some space, or give a folder you may write to."
        ) from error
