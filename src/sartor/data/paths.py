"""Paths that a user wrote, made whole; what no file system can follow is said, with what to do."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from sartor.errors import DataError

_SURROGATE = re.compile("[\ud800-\udfff]")
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


def located(path: str | Path, what: str, root: Path | None = None) -> Path:
    """The absolute path, with `~` and links followed, whether or not something is there.

    Relative to `root`, or to the working directory. DataError, opened by `what`, if it is empty,
    of no home, too long, a loop of links, not to be looked at, or not text.
    """
    try:
        return _followed(path, root)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{what}: {_found(str(path), error)}") from error


def printable(path: str) -> str:
    r"""With bytes that are not UTF-8 as "\xff", for people and for files of sartor's."""
    return _SURROGATE.sub(lambda one: f"\\x{ord(one[0]) & 0xFF:02x}", path)


def _followed(path: str | Path, root: Path | None) -> Path:
    if not str(path).strip():
        raise ValueError("empty")
    str(path).encode()  # UnicodeEncodeError, a ValueError, for a name that is not UTF-8
    whole = (root or Path()) / Path(path).expanduser()
    try:
        whole.stat()
    except OSError as error:
        if error.errno not in _MISSING:
            raise
    return whole.resolve()


def _found(path: str, error: Exception) -> str:
    shown = printable(path if len(path) <= 80 else f"{path[:60]}... ({len(path)} characters)")
    if not path.strip():
        return 'is empty. Name a file or folder; "." is the folder of the project itself.'
    if isinstance(error, UnicodeError):
        return f"{shown} has a name that is not UTF-8. Rename it."
    if isinstance(error, ValueError):
        return f"{shown!r} is no path ({error}). Correct it."
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{shown} is longer than a name may be. Name a file or folder that is there."
    if isinstance(error, OSError) and error.errno != errno.ELOOP:
        return f"{shown} cannot be looked at ({error.strerror}). Check the rights, or name another."
    if path.startswith("~") and not isinstance(error, OSError) and "home" in str(error):
        return f"{shown} names a user without a home directory. Write the path from / on."
    return f"{shown} is a loop of links. Make the link point to the file or folder itself."
