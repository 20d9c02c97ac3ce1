"""sartor.toml: what a project is, typed. An unknown key is an error that suggests the nearest.

Techniques' own settings stay plain here; techniques/registry.py gives them to their classes. How
candidates and bases are crossed is crossing.py's.
"""

from __future__ import annotations

import difflib
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from sartor.errors import ProjectError, SettingError

FILE = "sartor.toml"
CANDIDATES = ("zero-shot", "few-shot", "rag", "p-tuning", "lora", "full", "rag+lora")
"""What is tried when the project does not say."""
BARE = frozenset(
    {
        "zero-shot", "few-shot", "prompt-tuning", "p-tuning", "prefix-tuning", "ia3", "lora",
        "full", "dpo", "orpo", "kto", "search", "continued-pretraining", "distill",
        "optimized-prompt", "merge", "stack",
    }
)  # fmt: skip
"""Techniques that put no passages before the model."""
LARGEST_SEED = 2**31 - 1
"""What numpy, torch and Python's own generators all take."""
LARGEST = 2**63 - 1
"""TOML 1.0.0, "Integer": what a file may hold."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,79}$"
NAME = "begins with a letter or digit, then has letters (a to z), digits, spaces and . _ + -"
UNSHOWN = frozenset({"endpoint", "api_key_env"})
"""Keys whose wrong values are not repeated in errors: a secret may have been put there."""
OWN_PARAMETERS = frozenset(
    {"model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"}
)
"""Of a chat request: what sartor sets itself."""


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
    """`thimble`, a folder, a Hugging Face id, or the name of a [remote.<name>]."""
    bases: tuple[Place, ...] = ()
    """Several, in place of `base`: every candidate is tried on each."""
    ladder: bool = False
    """`bases` are a ladder, the largest first: go down it only while the smaller ones do."""
    trust_remote_code: bool | tuple[str, ...] = False
    """Run code that comes with the model: true, or the names of the bases that are trusted."""

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, value: Any) -> Any:
        """`models = [...]` is a ladder in one key."""
        if not isinstance(value, dict) or "models" not in value:
            return value
        if {"base", "bases", "ladder"} & value.keys():
            raise ValueError("models stands for bases and ladder = true. Give one of the two")
        named = {key: each for key, each in value.items() if key != "models"}
        return {**named, "bases": value["models"], "ladder": True}

    @model_validator(mode="after")
    def _sensible(self) -> Model:
        if self.bases and "base" in self.model_fields_set:
            raise ValueError("base and bases are both given. Put all of them in bases")
        for base in self.bases:
            if self.bases.count(base) > 1:
                raise ValueError(f"bases names {base!r} twice. Name each once")
        if self.ladder and len(self.bases) < 2:
            raise ValueError("ladder is true and bases names fewer than two. Name them in bases")
        if self.trust_remote_code is True and len(self.bases) > 1:
            raise ValueError(
                "trust_remote_code is true, and there are several bases. Name those whose code "
                'may run: trust_remote_code = ["..."]'
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Every base that candidates are crossed with, as written."""
        return self.bases or (self.base,)

    def trusts(self, base: str) -> bool:
        """Whether code that comes with this base may run."""
        trusted = self.trust_remote_code
        return trusted if isinstance(trusted, bool) else base in trusted


def _web_address(endpoint: str) -> str:
    """Without a `/` at its end; the errors do not repeat it."""
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("not a web address, such as https://api.example.com/v1") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("not a web address, such as https://api.example.com/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(
            "it has more than a host and a path. Keys belong into an environment variable, which "
            "api_key_env names"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", endpoint):
        raise ValueError("not a web address: it has spaces or letters beyond ASCII")
    return endpoint.rstrip("/").removesuffix("/chat/completions")


class Remote(Section):
    """[remote.<name>]: a model behind an OpenAI-compatible interface. Holds no secret."""

    endpoint: Annotated[str, AfterValidator(_web_address)]
    """What `/chat/completions` is put behind, such as `https://api.example.com/v1`."""
    model: str = Field(min_length=1)
    """As the endpoint calls it."""
    api_key_env: str = Field("", pattern=r"^([A-Z_][A-Z0-9_]*)?$")
    """Environment variable that holds the key; none is sent when empty."""
    context: int = Field(8192, ge=64)
    """Tokens that prompt and answer may have together."""
    input_price: float = Field(0.0, ge=0)
    output_price: float = Field(0.0, ge=0)
    """Of a million tokens, in the project's currency."""
    budget: float | None = Field(None, gt=0)
    """Most that may ever be paid for it in this project, in the project's currency."""
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    concurrency: int = Field(4, ge=1, le=256)
    """Requests under way at once."""
    timeout_seconds: float = Field(60.0, gt=0)
    """Of one request, its whole answer included."""
    retries: int = Field(5, ge=0, le=20)
    """How often a request is tried again where that may help."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the endpoint calls the most tokens of an answer."""
    omit: tuple[Literal["temperature", "seed", "stop", "stream_options"], ...] = ()
    """Parameters that the endpoint does not take."""
    parameters: dict[str, Any] = {}
    """More of the request's body, such as `{ reasoning_effort = "low" }`."""

    @model_validator(mode="after")
    def _sensible(self) -> Remote:
        if self.budget is not None and not (self.input_price or self.output_price):
            raise ValueError("budget is given without prices. Give input_price and output_price")
        if taken := sorted(OWN_PARAMETERS & self.parameters.keys()):
            raise ValueError(
                f"parameters sets {taken[0]!r}, which sartor sets itself. Leave it out"
            )
        return self

    def price(self, prompt_tokens: float, new_tokens: float) -> float:
        """Of one answer."""
        return (prompt_tokens * self.input_price + new_tokens * self.output_price) / 1e6


class Candidate(Section):
    """One entry of [customize] candidates."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(pattern=NAME_PATTERN)
    technique: str
    base: Paths = ()
    """Its own base, or bases, in place of those of [model]."""
    seeds: tuple[Annotated[int, Field(ge=0, le=LARGEST_SEED)], ...] = ()
    """Customize it once with each, and count how they differ as a second level of chance."""

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
    stop_hopeless: bool = False
    """Do not ask the test part of a candidate that validation shows to be far behind."""


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


class Tracking(Section):
    """[tracking]"""

    tensorboard: Place | None = None
    """Folder for TensorBoard's event files, relative to the project."""
    mlflow: Place | None = None
    """URI of an MLflow server or database, or a folder."""


class ProjectFile(Section):
    """The whole file."""

    project: About = About()
    data: Data
    model: Model = Model()
    remote: dict[str, Remote] = {}
    """[remote.<name>]: models behind a web address, to be named as bases."""
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
    tracking: Tracking = Tracking()


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
    if isinstance(plain.get("models"), list) and isinstance(plain.setdefault("model", {}), dict):
        plain["model"].setdefault("models", plain.pop("models"))
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
    _check_candidates(made.customize.candidates, made.model.names, where)
    _check_remotes(made, where)
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
    named = {*file.model.names, *(b for c in file.customize.candidates for b in c.base)}
    for base in () if isinstance(trusted, bool) else trusted:
        if base not in named:
            raise ProjectError(
                f"{where}: [model] trust_remote_code names {base!r}, which is no base here. The "
                f"bases are: {', '.join(sorted(named))}."
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
    if path[-1] == "api_key_env":
        return (
            f"{place} names no environment variable: expected capital letters, digits and _, such "
            "as OPENAI_API_KEY. The key itself belongs into that variable, never into this file"
        )
    if error["type"] == "string_pattern_mismatch":
        return f"{place} is {error['input']!r}: a name {NAME}; 80 characters at most"
    if error["type"] == "value_error" and isinstance(error["input"], str):
        given = "" if path[-1] in UNSHOWN else f" is {error['input']!r}"
        return f"{place}{given}: {error['ctx']['error']}"
    if error["type"] == "value_error":
        return f"{place}: {error['ctx']['error']}"
    said = error["msg"].lower().replace("tuple", "list").split(" or instance of")[0]
    return f"{place} is {error['input']!r}: {said.replace('dictionary', 'table')}"


def _place(path: Sequence[str]) -> str:
    return f"[{path[0]}]" + (f" {'.'.join(path[1:])}" if path[1:] else "")


def _known(path: Sequence[str]) -> list[str]:
    kind: type[BaseModel] = ProjectFile
    if path and path[0] == "remote":
        return list(Remote.model_fields)
    for part in path:
        field = kind.model_fields.get(part)
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kind = annotation
    return list(kind.model_fields)
