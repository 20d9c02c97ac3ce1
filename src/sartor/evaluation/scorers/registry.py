"""Scorers by name. Adding one is one line here."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

from pydantic import ValidationError

from sartor.errors import SartorError, SettingError
from sartor.evaluation.scorer import Scorer
from sartor.evaluation.scorers.own import EVALUATE, as_scorer, library_metric, of_file
from sartor.evaluation.scorers.place import Place, Placed
from sartor.named import found
from sartor.settings import no_truths

SCORERS: dict[str, str] = {
    "exact_match": "sartor.evaluation.scorers.exact_match:ExactMatch",
    "contains": "sartor.evaluation.scorers.contains:Contains",
    "numeric": "sartor.evaluation.scorers.numeric:Numeric",
    "token_f1": "sartor.evaluation.scorers.token_f1:TokenF1",
    "rouge_l": "sartor.evaluation.scorers.rouge_l:RougeL",
    "bleu": "sartor.evaluation.scorers.bleu:Bleu",
    "chrf": "sartor.evaluation.scorers.chrf:ChrF",
    "label": "sartor.evaluation.scorers.label:Label",
    "choice": "sartor.evaluation.scorers.choice:Choice",
    "choice_likelihood": "sartor.evaluation.scorers.choice_likelihood:ChoiceLikelihood",
    "fields": "sartor.evaluation.scorers.json_fields:JsonFields",
    "embedding": "sartor.evaluation.scorers.embedding:Embedding",
    "repetition": "sartor.evaluation.scorers.repetition:Repetition",
    "truncation": "sartor.evaluation.scorers.truncation:Truncation",
    "language": "sartor.evaluation.scorers.language:Language",
    "groundedness": "sartor.evaluation.scorers.groundedness:Groundedness",
    "citation_precision": "sartor.evaluation.scorers.citations:CitationPrecision",
    "citation_recall": "sartor.evaluation.scorers.citations:CitationRecall",
    "answered": "sartor.evaluation.scorers.answered:Answered",
    "abstention": "sartor.evaluation.scorers.abstention:Abstention",
    "recall_at_k": "sartor.evaluation.scorers.retrieval:RecallAtK",
    "mrr": "sartor.evaluation.scorers.retrieval:ReciprocalRank",
    "ndcg": "sartor.evaluation.scorers.retrieval:NDCG",
}
"""Those that work as they are: name -> `module:class`."""

NEED_SETTINGS: dict[str, str] = {
    "json_schema": "sartor.evaluation.scorers.json_schema:JsonSchema",
    "sql": "sartor.evaluation.scorers.sql:Sql",
    "code": "sartor.evaluation.scorers.code:Code",
    "bert_score": "sartor.evaluation.scorers.bert_score:BertScore",
    "perplexity": "sartor.evaluation.scorers.perplexity:Perplexity",
    "judge": "sartor.evaluation.scorers.judge:Judge",
    "pairwise": "sartor.evaluation.scorers.pairwise:Pairwise",
}
"""Those that must be told something under `[scorers.<name>]`: a file, a model, a permission.

One's own class or function needs no line in either: name it `their_package.module:Name`, or
`metrics.py:name` for a file of the project."""

KIND = "scorer"
"""The key of a `[scorers.<name>]` table that names which scorer it is."""


def load_scorer(
    name: str, settings: Mapping[str, Any] | None = None, place: Place | None = None
) -> Scorer:
    """A scorer with its settings.

    `name` is one of the table, `package.module:Name`, a file of the project as `metrics.py:name`,
    `evaluate:METRIC`, or an entry point (group `sartor.scorers`). `settings` may say under
    `scorer` which it is; then `name` is only what its scores are called.
    """
    place = place or Place()
    chosen = dict(settings or {})
    kind = chosen.pop(KIND, name)
    if not isinstance(kind, str):
        raise SettingError(f"[scorers.{name}] {KIND} is {kind!r}; expected a scorer's name")
    built = _built(kind, chosen, name, place)
    for part in ("name", "binary", "score"):
        if not hasattr(built, part):
            raise SettingError(
                f"scorer {kind!r} has no `{part}`. A scorer has a name, `binary` (right or wrong) "
                "and a method `score`; see sartor.evaluation.scorer."
            )
    if isinstance(built, Placed):
        built = built.placed(place)
    if hasattr(built, "check"):
        built.check()  # settings that name what is not there: before anything is spent
    return cast(Scorer, built if kind == name else _renamed(built, name))


def load_scorers(
    names: Sequence[str], tables: Mapping[str, Mapping[str, Any]], place: Place | None = None
) -> list[Scorer]:
    """All that are named, each once; SettingError for a table that none of them uses."""
    wanted = list(dict.fromkeys(names))
    for unused in tables.keys() - set(wanted):
        near = difflib.get_close_matches(unused, wanted, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"add {unused!r} to them, or remove it."
        raise SettingError(
            f"[scorers.{unused}] is not among [evaluate] scorers ({', '.join(wanted)}); {hint}"
        )
    return [load_scorer(name, tables.get(name), place) for name in wanted]


def _renamed(built: Any, name: str) -> Any:
    other = copy.copy(built)
    object.__setattr__(other, "name", name)
    return other


def _built(kind: str, chosen: dict[str, Any], name: str, place: Place) -> Any:
    if kind.startswith(EVALUATE):
        return library_metric(kind, name, chosen, place)
    made = (
        of_file(kind, place)
        if _is_file(kind)
        else found(kind, {**SCORERS, **NEED_SETTINGS}, "scorer")
    )
    if not inspect.isclass(made) and callable(made):
        return as_scorer(made, name, chosen)
    if chosen:
        _refuse_unknown(made, chosen, name)
    for said in no_truths(getattr(made, "__pydantic_fields__", {}), chosen):
        raise SettingError(f"scorer {name}: {said}")
    try:
        return as_scorer(made(**chosen), name, {}) if hasattr(made, "score_one") else made(**chosen)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingError(
            f"scorer {name}: {where} is {first['input']!r}: {first['msg'].lower()}"
        ) from error
    except SartorError:
        raise
    except Exception as error:  # a class of the user's may raise anything
        raise SettingError(
            f"scorer {kind!r} cannot be made with the settings {sorted(chosen)}: {error}. Expected "
            f"a class whose settings have defaults, or give them under [scorers.{name}]."
        ) from error


def _is_file(kind: str) -> bool:
    return kind.partition(":")[0].endswith(".py")


def _refuse_unknown(made: Any, chosen: Mapping[str, Any], name: str) -> None:
    known = {field.name for field in fields(made)} if is_dataclass(made) else set[str]()
    if not known and not is_dataclass(made):
        known = set(inspect.signature(made).parameters)
    for key in chosen:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            options = f"known: {', '.join(sorted(known))}" if known else "it has no settings"
            hint = f"did you mean {near[0]!r}?" if near else options
            raise SettingError(f"scorer {name}: unknown setting {key!r}; {hint}")
