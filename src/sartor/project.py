"""sartor.toml: what a project is, typed. An unknown key is an error that suggests the nearest.

Techniques' own settings stay plain here; techniques/registry.py gives them to their classes.
"""

from __future__ import annotations

import difflib
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from sartor.errors import ProjectError, SettingError

FILE = "sartor.toml"
CANDIDATES = ("zero-shot", "few-shot", "rag", "p-tuning", "lora", "full", "rag+lora")
"""What is tried when the project does not say."""
BARE = frozenset(
    {"zero-shot", "few-shot", "prompt-tuning", "p-tuning", "prefix-tuning", "ia3", "lora", "full"}
)
"""Techniques that put no passages before the model."""
LARGEST_SEED = 2**31 - 1
"""What numpy, torch and Python's own generators all take."""
LARGEST = 2**63 - 1
"""TOML 1.0.0, "Integer": what a file may hold."""
NAME = "begins with a letter or digit, then has letters (a to z), digits, spaces and . _ + -"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _at_home(path: str) -> str:
    try:
        Path(path).expanduser()
    except RuntimeError as error:
        user = Path(path).parts[0]
        raise ValueError(f"{user} is nobody's home folder here; write the path out") from error
    return path


Place = Annotated[str, AfterValidator(_at_home)]
"""A path or a name; a `~` in it means somebody's home folder."""
Paths = Annotated[tuple[Place, ...], BeforeValidator(_listed)]
"""One path, or a list of them."""


class Section(BaseModel):
    """A table of the project file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class About(Section):
    """[project]"""

    name: str = ""
    """Shown in reports; the folder's name when empty."""
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
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

    base: Place = "thimble"
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


class Forgetting(Section):
    """[forgetting]"""

    tasks: Paths = ()
    """JSONL files of multiple-choice questions, or tasks of lm-evaluation-harness by name."""
    task_folder: str = ""
    """Folder of the harness's YAML files, where the tasks are your own."""
    limit: int | None = Field(None, ge=1)
    """At most so many questions of each task."""
    max_loss: float = Field(0.02, ge=0, lt=1)
    """A candidate that loses more of the base's general ability is refused."""


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
    scorers: dict[str, dict[str, Any]] = {}
    """[scorers.<name>]: settings of that scorer; `scorer` says which it is, if not that of its
    name."""
    forgetting: Forgetting = Forgetting()
    criteria: Wanted = Wanted()
    cost: Cost = Cost()


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
        raise ProjectError(f"{path}: not valid TOML: {error}") from error
    return parse(plain, str(path))


def parse(plain: dict[str, Any], where: str) -> ProjectFile:
    """The settings from plain values; `where` is named in errors."""
    for said in _wrong_numbers(plain, []):
        raise ProjectError(f"{where}: {said}")
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


def _wrong_numbers(value: Any, path: list[str]) -> Iterator[str]:
    """What is said of numbers that nothing can be reckoned with, in techniques' settings too."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _wrong_numbers(inside, [*path, key])
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from _wrong_numbers(inside, [*path, str(number)])
    elif isinstance(value, float) and not isfinite(value):
        yield f"{_place(path)} is {value}; give a finite number, or leave the key out"
    elif isinstance(value, int) and path[-1] == "seed" and not 0 <= value <= LARGEST_SEED:
        yield f"{_place(path)} is {_short(value)}; a seed lies between 0 and {LARGEST_SEED}"
    elif isinstance(value, int) and abs(value) > LARGEST:
        yield f"{_place(path)} is {_short(value)}; whole numbers go up to {LARGEST}"


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**40 else "a number of more than 40 digits"


def _candidate(entry: Any) -> Any:
    """`"lora"` means a candidate of that name; a table without a name takes its technique's."""
    if isinstance(entry, str):
        return {"name": _usual_name(entry), "technique": entry}
    if isinstance(entry, dict) and isinstance(entry.get("technique"), str):
        return {"name": _usual_name(entry["technique"]), **entry}
    return entry


def _usual_name(technique: str) -> str:
    """The technique's own; of `package.module:Class` the class."""
    return "+".join(part.strip().rpartition(":")[2] for part in technique.split("+"))


def parts(technique: str) -> tuple[str, ...]:
    """The techniques that `rag+lora` joins, outermost first; SettingError where that is none."""
    found = tuple(part.strip() for part in technique.split("+"))
    if not all(found):
        raise SettingError(
            f"technique {technique!r}: a part is empty. Name one on each side of every '+', "
            "such as 'rag+lora'."
        )
    for part in found:
        if found.count(part) > 1:
            raise SettingError(
                f"technique {technique!r}: {part} is in it {found.count(part)} times. "
                "Name each technique once."
            )
    return found


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


def _check_candidates(candidates: Sequence[Candidate], where: str) -> None:
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
    names = [candidate.name.lower() for candidate in candidates]
    for name in names:
        if names.count(name) > 1:
            raise ProjectError(
                f"{where}: two candidates are called {name!r}. Give one another name: "
                f'{{ name = "{name}-2", technique = "...", ... }}'
            )


def _told(error: Any) -> str:
    path = [str(part) for part in error["loc"]]
    place = _place(path)
    if error["type"] == "extra_forbidden":
        known = _known(path[:-1])
        near = difflib.get_close_matches(path[-1], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        section = f"[{'.'.join(path[:-1])}] " if path[:-1] else ""
        return f"{section}unknown key {path[-1]!r}; {hint}"
    if error["type"] == "missing":
        return f"{place} is missing"
    if error["type"] == "string_pattern_mismatch":
        return f"{place} is {error['input']!r}: a name {NAME}; 80 characters at most"
    if error["type"] == "value_error":
        return f"{place} is {error['input']!r}: {error['ctx']['error']}"
    said = error["msg"].lower().replace("tuple", "list").split(" or instance of")[0]
    return f"{place} is {error['input']!r}: {said.replace('dictionary', 'table')}"


def _place(path: Sequence[str]) -> str:
    return f"[{path[0]}]" + (f" {'.'.join(path[1:])}" if path[1:] else "")


def _known(path: Sequence[str]) -> list[str]:
    kind: type[BaseModel] = ProjectFile
    for part in path:
        field = kind.model_fields.get(part)
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kind = annotation
    return list(kind.model_fields)
