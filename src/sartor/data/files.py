"""How rows rest between steps: JSONL and JSON, written whole or not at all, named by digest.

A file is written beside its place and then moved there, so a killed process leaves the old one or
the new one, never half. Lines end with "\\n" only (others belong to the text).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sartor.errors import DataError, DiskError

T = TypeVar("T")


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""Made once for each kind."""


def to_json(value: Any) -> str:
    """Canonical JSON of plain values or frozen dataclasses: sorted keys, no spaces."""
    plain = _adapter(type(value)).dump_python(value, mode="json")
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def from_json(kind: type[T], text: str) -> T:
    """A `kind` from its JSON; pydantic's ValidationError if it does not fit."""
    value: T = _adapter(kind).validate_json(text)
    return value


def read_json(path: Path, kind: type[T]) -> T:
    """What `write_json` wrote; DataError where it was changed by hand or broken."""
    try:
        return from_json(kind, path.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise _changed(str(path), kind, error) from error


def _changed(where: str, kind: type[Any], error: ValueError) -> DataError:
    found = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    name = getattr(kind, "__name__", str(kind))
    return DataError(
        f"{where}: not a {name} as sartor wrote it ({found}). The file was changed by hand or is "
        "broken: delete it and run again."
    )


def digest(*parts: Any) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON of all parts; bytes are taken as they are."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else to_json(part).encode()
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file's bytes, which are not held at once; empty where it is not
    there."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write atomically and durably; makes the folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DiskError(
            f"cannot write {path}: {error.strerror}. Free some space or check the folder's rights."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # moved, never made, or not ours to remove
            temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Pretty JSON, for files that people open; atomic."""
    plain = _adapter(type(value)).dump_python(value, mode="json")
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    """One JSON row a line; atomic."""
    write_text(path, "".join(to_json(row) + "\n" for row in rows))


def read_rows(path: Path, kind: type[T]) -> list[T]:
    """The rows of a file that sartor wrote; DataError naming the line where it is broken."""
    rows = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows.append(from_json(kind, line.decode()))
            except (ValidationError, UnicodeDecodeError) as error:
                raise _changed(f"{path}:{number}", kind, error) from error
    return rows
