"""Starter projects that ship with the package: documents, examples and a sartor.toml to begin with.

Each folder beside this file is one use case; its ATTRIBUTION.md says where the data is from.
Made by benchmarks/make_starter.py.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Sequence
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
    _refuse_unless_free(destination)
    new = [path for path in (destination, *destination.parents) if not path.exists()]
    try:
        shutil.copytree(
            FOLDER / name, destination, dirs_exist_ok=True, copy_function=shutil.copyfile
        )
    except (OSError, KeyboardInterrupt) as error:
        _undo(destination, new)
        if isinstance(error, OSError):
            raise _unwritten(destination, error) from error
        raise


def _refuse_unless_free(destination: Path) -> None:
    try:
        taken = destination.exists() and any(destination.iterdir())
    except NotADirectoryError as error:
        raise ProjectError(
            f"{destination} is a file, and a starter needs a folder. Give another path."
        ) from error
    except OSError as error:
        raise _unwritten(destination, error) from error
    if taken:
        raise ProjectError(
            f"{destination} is not empty, and a starter would mix with what is there. "
            "Give an empty folder, or one that does not exist yet."
        )


def _unwritten(destination: Path, error: OSError) -> ProjectError:
    return ProjectError(
        f"cannot write the starter to {destination}: {_reason(error)}. "
        "Free some space, or give a folder you may write to."
    )


def _undo(destination: Path, new: Sequence[Path]) -> None:
    """As it was before: half a starter would stand in the way of a whole one."""
    with contextlib.suppress(OSError):  # not made, or not ours
        for path in destination.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for folder in new:
            folder.rmdir()


def _reason(error: OSError) -> str:
    """Of the first file that was not written: copying a folder goes on to the others."""
    if isinstance(error, shutil.Error):
        [(_, _, told), *_] = error.args[0]
        numbered = re.match(r"\[\w+ \d+\] ([^:]+)", str(told))  # [Errno 28] No space: 'file'
        return numbered[1] if numbered else str(told)
    return error.strerror or str(error)
