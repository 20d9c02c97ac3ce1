"""The tables of sartor.toml and their keys, typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from sartor.project.names import NAME_PATTERN
from sartor.project.remote import Remote
from sartor.project.section import LARGEST_SEED, Paths, Place, Section


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
        """Whether code that comes with this model may run: `true` is said of [model] base alone,
        not of a candidate's own base, a teacher or a judge of entailment."""
        trusted = self.trust_remote_code
        return base in (self.names if trusted is True else trusted or ())


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
    remote: dict[str, Remote] = Field(default_factory=dict)
    """[remote.<name>]: models behind a web address, to be named as bases."""
    customize: Customize = Customize()
    techniques: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """[techniques.<name>]: settings of every candidate of that technique."""
    evaluate: Evaluate = Evaluate()
    scorers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """[scorers.<name>]: settings of that scorer; `scorer` says which it is, if not that of its
    name."""
    forgetting: Forgetting = Forgetting()
    criteria: Wanted = Wanted()
    cost: Cost = Cost()
    tracking: Tracking = Tracking()

    def name_in(self, folder: Path) -> str:
        """What reports, trackers and the server call the project in that folder."""
        return self.project.name or folder.name
