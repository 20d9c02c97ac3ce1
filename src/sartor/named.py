"""Classes by name: those of a table, `package.module:Class`, and what other packages offer."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from sartor.errors import SettingError


def found(name: str, table: Mapping[str, str], what: str) -> Any:
    """What `name` stands for in the table, as a path, or as entry point of group `sartor.<what>s`.

    Raises SettingError, which suggests the nearest name.
    """
    if ":" in name:
        return _imported(name, what)
    if name in table:
        return _imported(table[name], what)
    for entry in entry_points(group=f"sartor.{what}s"):
        if entry.name == name:
            return entry.load()
    parts_of = [known for known in table if name and name in known]
    near = difflib.get_close_matches(name, table) or parts_of
    near.sort(key=lambda known: known[:1] != name[:1])  # beginnings are seldom mistyped
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(table)}"
    raise SettingError(f"unknown {what} {name!r}; {hint}")


def _imported(path: str, what: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        raise SettingError(
            f"{what} {path!r} cannot be imported: {error}. Expected 'package.module:Class'."
        ) from error
