"""Techniques by name. Adding one is one line here."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import entry_points
from typing import Any, cast

from pydantic import ValidationError

from sartor.errors import SettingError
from sartor.techniques.technique import Technique

TECHNIQUES: dict[str, str] = {
    "zero-shot": "sartor.techniques.prompt:ZeroShot",
    "few-shot": "sartor.techniques.prompt:FewShot",
    "rag": "sartor.techniques.rag:Rag",
    "p-tuning": "sartor.techniques.p_tuning:PTuning",
    "lora": "sartor.techniques.lora:LoRA",
    "full": "sartor.techniques.full:FullFineTuning",
}
"""Name -> `module:class`. One's own class needs no line: name it `their_package.module:Class`."""


def build(
    technique: str,
    settings: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Technique:
    """A technique from its name, `rag+lora` being RAG with LoRA inside.

    `settings` are of the outermost; `defaults[name]` of every technique of that name, inside too.
    Raises SettingError naming the technique and the nearest setting when a key is unknown.
    """
    outer, _, inside = technique.partition("+")
    kind = _class(outer.strip())
    chosen = {**(defaults or {}).get(outer.strip(), {}), **(settings or {})}
    known = {field.name for field in fields(kind)}
    if inside:
        if "inner" not in known:
            raise SettingError(
                f"{technique!r}: {outer} takes no technique inside it. Put the one that changes "
                "the prompt first: 'rag+lora', 'few-shot+lora', 'rag+few-shot'."
            )
        inner = chosen.pop("inner", {})
        chosen["inner"] = build(inside, inner if isinstance(inner, Mapping) else {}, defaults)
    for key in chosen:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise SettingError(f"{outer}: unknown setting {key!r}; {hint}")
    try:
        return cast(Technique, kind(**chosen))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingError(f"{outer}: {where} is {first['input']!r}: {first['msg']}") from error


def _class(name: str) -> Any:
    if ":" in name:
        return _imported(name)
    if name in TECHNIQUES:
        return _imported(TECHNIQUES[name])
    for entry in entry_points(group="sartor.techniques"):
        if entry.name == name:
            return entry.load()
    near = difflib.get_close_matches(name, TECHNIQUES, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(TECHNIQUES)}"
    raise SettingError(f"unknown technique {name!r}; {hint}")


def _imported(path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"technique {path!r} cannot be imported: {error}. Expected 'package.module:Class'."
        ) from error
