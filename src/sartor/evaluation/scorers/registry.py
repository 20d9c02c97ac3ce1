"""Scorers by name. Adding one is one line here."""

from __future__ import annotations

from typing import Any, cast

from sartor.errors import SettingError
from sartor.evaluation.scorer import Scorer
from sartor.named import found

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
    kind = found(name, SCORERS, "scorer")
    try:
        return kind()
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"scorer {name!r} cannot be made without settings: {error}. Expected a class whose "
            "settings all have defaults."
        ) from error
