"""sartor.toml read and checked as a whole: what no single key can see."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sartor.errors import ProjectError, SettingError
from sartor.project.mistakes import is_echo, told, wrong_numbers
from sartor.project.names import BARE, CANDIDATES, NAME, NAME_PATTERN, parts, usual_name
from sartor.project.sections import Candidate, ProjectFile

FILE = "sartor.toml"


def read(folder: Path) -> ProjectFile:
    """The settings of the project in `folder`; ProjectError says what is wrong and where."""
    path = folder / FILE
    if not path.is_file():
        named = shlex.quote(str(folder))
        raise ProjectError(
            f"{folder} holds no {FILE}. Make a project with `sartor init {named} "
            "--documents FOLDER --examples FILE.jsonl`, or name the folder that holds one."
        )
    try:
        plain = tomllib.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ProjectError(
            f"{path}: not valid TOML: {error}. Mend it there: texts stand in quotes, tables begin "
            "with their name in brackets, as in [data]."
        ) from error
    return parse(plain, str(path))


def parse(plain: dict[str, Any], where: str) -> ProjectFile:
    """The settings from plain values; `where` is named in errors."""
    for said in wrong_numbers(plain, []):
        raise ProjectError(f"{where}: {said}")
    plain = {key: _copied(value) for key, value in plain.items()}
    if isinstance(plain.get("models"), list) and isinstance(plain.setdefault("model", {}), dict):
        if "models" in plain["model"]:
            raise ProjectError(
                f"{where}: models is given twice, at the top and under [model]. Keep one of them."
            )
        plain["model"]["models"] = plain.pop("models")
    customize = plain.get("customize", {})
    if isinstance(customize, dict):
        chosen = customize.get("candidates", list(CANDIDATES))
        if isinstance(chosen, list):
            customize["candidates"] = [_candidate(c) for c in chosen]
        plain["customize"] = customize
    try:
        made = ProjectFile.model_validate(plain)
    except ValidationError as error:
        wrong = [e for e in error.errors() if not is_echo(e, error.errors())]
        raise ProjectError(f"{where}: " + "; ".join(map(told, wrong[:5]))) from error
    _check_candidates(made.customize.candidates, made.model.names, where)
    _check_remotes(made, where)
    return made


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value


def _candidate(entry: Any) -> Any:
    """`"lora"` means a candidate of that name; a table without a name takes its technique's."""
    if isinstance(entry, str):
        return {"name": usual_name(entry), "technique": entry}
    if isinstance(entry, dict) and isinstance(entry.get("technique"), str):
        return {"name": usual_name(entry["technique"]), **entry}
    return entry


def refuse_impossible(file: ProjectFile, documents: int) -> None:
    """ProjectError where a run with so many documents would end without a decision."""
    retrieving = [c for c in file.customize.candidates if "rag" in parts(c.technique)]
    if retrieving and not documents:
        raise ProjectError(
            f"{retrieving[0].name}: there are no passages to index. Retrieval needs documents: "
            "name some under [data] documents, or leave rag out of [customize] candidates."
        )
    bare = all(BARE.issuperset(parts(c.technique)) for c in file.customize.candidates)
    if file.criteria.scorer == "groundedness" and bare:
        raise ProjectError(
            "[criteria] scorer is 'groundedness', which judges answers made with passages, and no "
            "candidate retrieves any. Add 'rag' to [customize] candidates, or choose another "
            "scorer, such as 'token_f1'."
        )


def refuse_name(name: str, candidates: Sequence[Candidate]) -> None:
    """ProjectError where answers made elsewhere cannot be called that."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise ProjectError(f"{name!r} cannot name a candidate: a name {NAME}; 80 at most.")
    if name.lower() in {candidate.name.lower() for candidate in candidates}:
        raise ProjectError(
            f"{name!r} is a candidate of sartor.toml already. Give the answers another --name."
        )


def _check_candidates(candidates: Sequence[Candidate], bases: Sequence[str], where: str) -> None:
    if not candidates:
        raise ProjectError(
            f"{where}: [customize] candidates is empty. "
            f"Name at least one, such as {CANDIDATES[0]!r}."
        )
    for candidate in candidates:
        try:
            parts(candidate.technique)
        except SettingError as error:
            raise ProjectError(f"{where}: [customize] candidates: {error}") from error
        if len(set(candidate.seeds)) < len(candidate.seeds):
            raise ProjectError(
                f"{where}: {candidate.name}: seeds has one twice: {list(candidate.seeds)}. "
                "Name each once."
            )
        if candidate.seeds and "seed" in candidate.settings:
            raise ProjectError(
                f"{where}: {candidate.name} has both seed and seeds. Keep one of them."
            )
    names = [(c.name.lower(), base) for c in candidates for base in c.base or bases]
    for name, base in names:
        if names.count((name, base)) > 1:
            raise ProjectError(
                f"{where}: two candidates are called {name!r}. Give one another name: "
                f'{{ name = "{name}-2", technique = "...", ... }}'
            )


def _check_remotes(file: ProjectFile, where: str) -> None:
    for name in file.remote:
        if not re.fullmatch(NAME_PATTERN, name) or name == "thimble":
            raise ProjectError(
                f"{where}: [remote.{name}]: a name {NAME}; 80 characters at most, and not "
                "'thimble'."
            )
    trusted = file.model.trust_remote_code
    candidates = file.customize.candidates
    named = {*file.model.names, *(b for c in candidates for b in c.base)}
    settings = (*(c.settings for c in candidates), *file.techniques.values())
    named |= {str(each["teacher"]) for each in settings if each.get("teacher")}
    named |= {str(each["entailment"]) for each in file.scorers.values() if each.get("entailment")}
    for base in () if isinstance(trusted, bool) else trusted:
        if base not in named:
            raise ProjectError(
                f"{where}: [model] trust_remote_code names {base!r}, which is no base here. The "
                f"bases are: {', '.join(sorted(named))}."
            )
