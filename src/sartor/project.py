"""sartor.toml: what a project is, typed. An unknown key is an error that suggests the nearest.

Techniques' own settings stay plain here; techniques/registry.py gives them to their classes.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sartor.errors import ProjectError

FILE = "sartor.toml"
CANDIDATES = ("zero-shot", "few-shot", "rag", "p-tuning", "lora", "full", "rag+lora")
"""What is tried when the project does not say."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""One path, or a list of them."""


class Section(BaseModel):
    """A table of the project file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class About(Section):
    """[project]"""

    name: str = ""
    """Shown in reports; the folder's name when empty."""
    seed: int = Field(0, ge=0)
    """Decides the split, the order of training and every resample."""


class Data(Section):
    """[data]"""

    documents: Paths = ()
    """Files, folders or patterns, relative to the project."""
    examples: Paths = Field(min_length=1)
    """JSONL or CSV files of requests and right answers."""
    test_fraction: float = Field(0.2, gt=0, lt=0.9)
    validation_fraction: float = Field(0.1, gt=0, lt=0.9)
    max_train: int | None = Field(None, ge=1)
    max_validation: int | None = Field(None, ge=1)
    max_test: int | None = Field(None, ge=1)
    """At most so many examples of a part are used; which ones follows from the seed."""


class Model(Section):
    """[model]"""

    base: str = "thimble"
    """`thimble`, a folder, or a Hugging Face id."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Only for a model you trust."""


class Candidate(Section):
    """One entry of [customize] candidates."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,79}$")
    technique: str

    @property
    def settings(self) -> dict[str, Any]:
        """The technique's own settings."""
        return dict(self.model_extra or {})


class Customize(Section):
    """[customize]"""

    candidates: tuple[Candidate, ...] = ()


class Evaluate(Section):
    """[evaluate]"""

    scorers: tuple[str, ...] = (
        "exact_match", "token_f1", "rouge_l", "groundedness", "answered", "abstention",
    )  # fmt: skip
    max_new_tokens: int | None = Field(None, ge=1)
    """Longest answer, in tokens; without it, what the training answers need."""
    batch_size: int = Field(32, ge=1)
    """Requests put to a model at once."""


class Wanted(Section):
    """[criteria]"""

    scorer: str = "token_f1"
    margin: float = Field(0.03, ge=0, lt=1)
    """A candidate that loses no more than this to the best is good enough."""
    at_least: float | None = Field(None, ge=0, le=1)
    max_seconds: float | None = Field(None, gt=0)
    max_cost: float | None = Field(None, gt=0)
    max_memory_gb: float | None = Field(None, gt=0)
    max_looks: int = Field(20, ge=1)
    """How many runs may look at one test part before its verdict is no longer trusted."""


class Cost(Section):
    """[cost]"""

    currency: str = "USD"
    machine_per_hour: float = Field(0.10, ge=0)
    """Price of an hour of the machine that answers."""
    training_machine_per_hour: float | None = Field(None, ge=0)
    """Price of an hour of the machine that trains; the same when not given."""
    expected_requests: int = Field(100_000, ge=1)
    """Requests that training is spread over."""


class ProjectFile(Section):
    """The whole file."""

    project: About = About()
    data: Data
    model: Model = Model()
    customize: Customize = Customize()
    techniques: dict[str, dict[str, Any]] = {}
    """[techniques.<name>]: settings of every candidate of that technique."""
    evaluate: Evaluate = Evaluate()
    criteria: Wanted = Wanted()
    cost: Cost = Cost()


def read(folder: Path) -> ProjectFile:
    """The settings of the project in `folder`; ProjectError says what is wrong and where."""
    path = folder / FILE
    if not path.is_file():
        raise ProjectError(
            f"{folder} holds no {FILE}. Make a project with `sartor init {folder} "
            "--documents FOLDER --examples FILE.jsonl`, or name the folder that holds one."
        )
    try:
        text = path.read_text("utf-8")
        plain = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path}: not valid TOML: {error}") from error
    return parse(plain, str(path))


def parse(plain: dict[str, Any], where: str) -> ProjectFile:
    """The settings from plain values; `where` is named in errors."""
    plain = {key: _copied(value) for key, value in plain.items()}
    customize = plain.get("customize", {})
    if isinstance(customize, dict):
        chosen = customize.get("candidates", list(CANDIDATES))
        if isinstance(chosen, list):
            customize["candidates"] = [_candidate(c) for c in chosen]
        plain["customize"] = customize
    try:
        made = ProjectFile.model_validate(plain)
    except ValidationError as error:
        raise ProjectError(
            f"{where}: " + "; ".join(_told(e) for e in error.errors()[:5])
        ) from error
    _check_candidates(made.customize.candidates, where)
    return made


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value


def _candidate(entry: Any) -> Any:
    """`"lora"` means a candidate of that name; a table without a name takes its technique's."""
    if isinstance(entry, str):
        return {"name": entry, "technique": entry}
    if isinstance(entry, dict) and "technique" in entry:
        return {"name": entry["technique"], **entry}
    return entry


def _check_candidates(candidates: Sequence[Candidate], where: str) -> None:
    if not candidates:
        raise ProjectError(
            f"{where}: [customize] candidates is empty. "
            f"Name at least one, such as {CANDIDATES[0]!r}."
        )
    names = [candidate.name.lower() for candidate in candidates]
    for name in names:
        if names.count(name) > 1:
            raise ProjectError(
                f"{where}: two candidates are called {name!r}. Give one another name: "
                f'{{ name = "{name}-2", technique = "...", ... }}'
            )


def _told(error: Any) -> str:
    path = [str(part) for part in error["loc"]]
    place = f"[{path[0]}]" + (f" {'.'.join(path[1:])}" if path[1:] else "")
    if error["type"] == "extra_forbidden":
        known = _known(path[:-1])
        near = difflib.get_close_matches(path[-1], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        section = f"[{'.'.join(path[:-1])}] " if path[:-1] else ""
        return f"{section}unknown key {path[-1]!r}; {hint}"
    if error["type"] == "missing":
        return f"{place} is missing"
    said = error["msg"].lower().replace("tuple", "list").split(" or instance of")[0]
    return f"{place} is {error['input']!r}: {said.replace('dictionary', 'table')}"


def _known(path: Sequence[str]) -> list[str]:
    kind: type[BaseModel] = ProjectFile
    for part in path:
        field = kind.model_fields.get(part)
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kind = annotation
    return list(kind.model_fields)
