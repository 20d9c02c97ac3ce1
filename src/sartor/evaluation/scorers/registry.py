"""Scorers by name. Adding one is one line here."""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points
from typing import Any, cast

from sartor.errors import SettingError
from sartor.evaluation.scorer import Scorer

SCORERS: dict[str, str] = {
    "exact_match": "sartor.evaluation.scorers.exact_match:ExactMatch",
    "token_f1": "sartor.evaluation.scorers.token_f1:TokenF1",
    "rouge_l": "sartor.evaluation.scorers.rouge_l:RougeL",
    "groundedness": "sartor.evaluation.scorers.groundedness:Groundedness",
    "answered": "sartor.evaluation.scorers.answered:Answered",
    "abstention": "sartor.evaluation.scorers.abstention:Abstention",
}
"""Name -> `module:class`. One's own class needs no line: name it `their_package.module:Class`."""


def load_scorer(name: str) -> Scorer:
    """The scorer of that name, `package.module:Class`, or entry point (group `sartor.scorers`)."""
    built = _built(name)
    for part in ("name", "binary", "score"):
        if not hasattr(built, part):
            raise SettingError(
                f"scorer {name!r} has no `{part}`. A scorer has a name, `binary` (right or wrong) "
                "and a method `score`; see sartor.evaluation.scorer."
            )
    return cast(Scorer, built)


def _built(name: str) -> Any:
    kind = _class(name)
    try:
        return kind()
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"scorer {name!r} cannot be made without settings: {error}. Expected a class whose "
            "settings all have defaults."
        ) from error


def _class(name: str) -> Any:
    if ":" in name:
        return _imported(name)
    if name in SCORERS:
        return _imported(SCORERS[name])
    for entry in entry_points(group="sartor.scorers"):
        if entry.name == name:
            return entry.load()
    near = difflib.get_close_matches(name, SCORERS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(SCORERS)}"
    raise SettingError(f"unknown scorer {name!r}; {hint}")


def _imported(path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        raise SettingError(
            f"scorer {path!r} cannot be imported: {error}. Expected 'package.module:Class'."
        ) from error
