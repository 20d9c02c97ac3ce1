"""Techniques by name. Adding one is one line here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from pydantic import ValidationError

from sartor.errors import SettingError
from sartor.named import found
from sartor.project import parts
from sartor.settings import no_truths, wrong
from sartor.techniques.technique import Technique

TECHNIQUES: dict[str, str] = {
    "zero-shot": "sartor.techniques.zero_shot:ZeroShot",
    "few-shot": "sartor.techniques.few_shot:FewShot",
    "rag": "sartor.techniques.rag:Rag",
    "prompt-tuning": "sartor.techniques.prompt_tuning:PromptTuning",
    "p-tuning": "sartor.techniques.p_tuning:PTuning",
    "prefix-tuning": "sartor.techniques.prefix_tuning:PrefixTuning",
    "ia3": "sartor.techniques.ia3:IA3",
    "lora": "sartor.techniques.lora:LoRA",
    "full": "sartor.techniques.full:FullFineTuning",
    "dpo": "sartor.techniques.dpo:DPO",
    "orpo": "sartor.techniques.orpo:ORPO",
    "kto": "sartor.techniques.kto:KTO",
    "continued-pretraining": "sartor.techniques.continued_pretraining:ContinuedPretraining",
    "merge": "sartor.techniques.merge:Merge",
    "stack": "sartor.techniques.stack:Stack",
    "distill": "sartor.techniques.distill:Distill",
    "optimized-prompt": "sartor.techniques.optimized_prompt:OptimizedPrompt",
    "search": "sartor.techniques.search:Search",
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
    outer, *rest = spelled_out(technique)
    inside = "+".join(rest)
    kind = _class(outer)
    chosen = {**(defaults or {}).get(outer, {}), **(settings or {})}
    known = {field.name for field in fields(kind)}
    if inside:
        if "inner" not in known:
            raise SettingError(
                f"{technique!r}: {outer} takes no technique inside it. Put the one that changes "
                "the prompt first: 'rag+lora', 'few-shot+lora', 'rag+few-shot'."
            )
        if getattr(_class(rest[0]), "outermost", False):
            raise SettingError(
                f"{technique!r}: {rest[0]} chooses what stands before all else, so it goes first: "
                f"'{rest[0]}+{outer}'."
            )
        inner = chosen.pop("inner", {})
        chosen["inner"] = build(inside, inner if isinstance(inner, Mapping) else {}, defaults)
    for key in chosen:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise SettingError(f"{outer}: unknown setting {key!r}; {hint}")
    for said in no_truths(getattr(kind, "__pydantic_fields__", {}), chosen):
        raise SettingError(f"{outer}: {said}")
    try:
        return cast(Technique, kind(**chosen))
    except ValidationError as error:
        raise SettingError(wrong(outer, error)) from error
    except TypeError as error:  # a plain dataclass, of which a field has no default
        raise SettingError(
            f"{outer}: it cannot be made with the settings {sorted(chosen)}: {error}. Give the "
            "others too, or a default in the class."
        ) from error


def spelled_out(technique: str) -> tuple[str, ...]:
    """The techniques that a name joins, with the trained one that the last has inside by default:
    `dpo` is `dpo+lora`."""
    named = parts(technique)
    last = _class(named[-1])
    inner = next((field.default for field in fields(last) if field.name == "inner"), None)
    inside = getattr(inner, "name", "")
    trained = inside in TECHNIQUES and hasattr(inner, "learning_rates")
    return (*named, *spelled_out(inside)) if trained else named


def _class(name: str) -> Any:
    """The class of that name, which has what a technique must have."""
    kind = found(name, TECHNIQUES, "technique")
    missing = [part for part in ("name", "fit", "load") if not hasattr(kind, part)]
    if not isinstance(kind, type) or not is_dataclass(kind) or missing:
        lacks = f"has no `{missing[0]}`" if missing else "is no dataclass"
        raise SettingError(
            f"technique {name!r} {lacks}. A technique is a dataclass with a name and the methods "
            "`fit` and `load`; see sartor.techniques.technique."
        )
    return kind
