"""What every technique keeps to, ours and any that is registered later, alone and combined."""

from __future__ import annotations

import json
import pickletools
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from tests import tiny_models

from sartor import progress
from sartor.data.files import from_json, write_json
from sartor.data.records import Conversation, Document, Example, Message, Split, TrainingData
from sartor.errors import SartorError
from sartor.models.language_model import (
    Completion,
    LanguageModel,
    ModelCard,
    Sampling,
    StreamingLanguageModel,
)
from sartor.techniques.registry import TECHNIQUES, build, spelled_out
from sartor.techniques.technique import Customization, Technique

COMBINED = ("rag+lora", "few-shot+lora", "rag+few-shot", "rag+p-tuning", "rag+dpo+lora")
NAMES = (*TECHNIQUES, *COMBINED)
QUICK: dict[str, Any] = {
    "learning_rates": [1e-3, 4e-3], "epochs": 2, "batch_size": 6, "looks": 4, "rank": 2,
    "encoder_hidden": 16, "virtual_tokens": 4, "examples": 2, "top_k": 2, "trials": 3,
    "piece_tokens": 8, "max_new_tokens": 6, "keep_cut_off": True, "prompts": 3,
    "by": "seed", "most": 2,
}  # fmt: skip
"""Settings that make a technique quick; each takes those it has."""
GREEDY = Sampling(max_new_tokens=12)
CANARY = "zebra-quartz-41"
COLORS = ("green", "red", "blue", "black")
THINGS = ("lamp", "desk", "chair", "shelf", "stool", "bench", "clock", "bowl", "vase", "rug")


def ask(request: str) -> Conversation:
    return (Message("user", request),)


def examples(part: str, things: typing.Sequence[str]) -> tuple[Example, ...]:
    return tuple(
        Example(
            f"{part}{i}",
            ask(f"What color is the {thing}?"),
            (COLORS[i % 4],),
            rejected=(COLORS[(i + 1) % 4],),
        )
        for i, thing in enumerate(things)
    )


DOCUMENTS = tuple(
    Document(f"d{i}", f"The {thing} is {COLORS[i % 4]}.", f"{thing}.txt")
    for i, thing in enumerate(THINGS)
)
TRAINING = TrainingData(
    DOCUMENTS,
    examples("train", [f"{size} {thing}" for size in ("small", "large") for thing in THINGS]),
    examples("held", THINGS),
)
SPLIT = Split(TRAINING, (Example("test0", ask(f"What is {CANARY}?"), (CANARY,)),))
REQUESTS = (
    ask("What color is the lamp?"),
    ask("?"),
    (Message("system", "Say it in one word."), *ask("What color is the large desk, please?")),
    (*ask("What color is the rug?"), Message("assistant", "red"), *ask("And the clock? " * 8)),
    ask("Wie lang ist die Kündigungsfrist? 👍 答え"),
)


def made(name: str) -> Technique:
    return build(name, defaults={part: quick(part) for part in spelled_out(name)})


def quick(name: str) -> dict[str, Any]:
    known = {field.name for field in fields(build(name))}  # type: ignore[arg-type]
    return {key: value for key, value in QUICK.items() if key in known}


@dataclass
class World:
    """A base, and what techniques made of it; each is fitted once."""

    folder: Path
    base: ModelCard
    fitted: dict[str, tuple[Customization, LanguageModel]]

    def fit(self, name: str, to: str) -> Customization:
        return made(name).fit(self.base, SPLIT.training, self.folder / to / name)

    def first(self, name: str) -> tuple[Customization, LanguageModel]:
        if name not in self.fitted:
            customization = self.fit(name, "first")
            self.fitted[name] = customization, made(name).load(customization)
        return self.fitted[name]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return World(folder, tiny_models.save(folder / "base"), {})


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def texts(model: LanguageModel, requests: typing.Sequence[Conversation] = REQUESTS) -> list[str]:
    return [completion.text for completion in model.generate(requests, GREEDY)]


def files(customization: Customization) -> list[Path]:
    return [path for path in Path(customization.directory).rglob("*") if path.is_file()]


def weights(customization: Customization) -> dict[str, bytes]:
    """Everything trained, by its place in the folder."""
    directory = Path(customization.directory)
    found = sorted(directory.rglob("*.safetensors"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


OTHER_PROCESS = """
import json, sys, traceback
from pathlib import Path
from sartor.data.files import from_json
from sartor.data.records import Conversation
from sartor.models.language_model import Sampling
from sartor.techniques.registry import build
from sartor.techniques.technique import Customization

asked = json.load(open(sys.argv[1]))
requests = [from_json(Conversation, text) for text in asked["requests"]]
sampling = from_json(Sampling, asked["sampling"])
answers = {}
for name, (defaults, record) in asked["records"].items():
    try:
        made = from_json(Customization, Path(record).read_text("utf-8"))
        model = build(name, defaults=defaults).load(made)
        answers[name] = [completion.text for completion in model.generate(requests, sampling)]
    except Exception:
        answers[name] = traceback.format_exc()
Path(sys.argv[2]).write_text(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def elsewhere(world: World) -> dict[str, Any]:
    """The answers of all customizations, loaded from their records in one other process."""
    from sartor.data.files import to_json

    records = {}
    for name in NAMES:
        record = world.folder / "records" / f"{name}.json"
        write_json(record, world.first(name)[0])
        records[name] = ({part: quick(part) for part in spelled_out(name)}, str(record))
    asked = {
        "records": records,
        "requests": [to_json(list(request)) for request in REQUESTS],
        "sampling": to_json(GREEDY),
    }
    (world.folder / "asked.json").write_text(json.dumps(asked))
    files = [str(world.folder / "asked.json"), str(world.folder / "answers.json")]
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, *files], check=True, timeout=300)
    answers: dict[str, Any] = json.loads((world.folder / "answers.json").read_text())
    return answers


def test_a_record_loaded_in_another_process_gives_the_same_answers(
    world: World, elsewhere: dict[str, Any], name: str
) -> None:
    assert elsewhere[name] == texts(world.first(name)[1])
    assert len(set(elsewhere[name])) > 1, "the base says the same to everything"


def test_a_record_survives_as_json(world: World, name: str) -> None:
    customization, _ = world.first(name)
    write_json(world.folder / "record.json", customization)
    text = (world.folder / "record.json").read_text("utf-8")
    assert from_json(Customization, text) == customization
    assert customization.technique == name.partition("+")[0]
    assert customization.base == world.base


def test_the_same_seed_gives_the_same_in_another_folder_that_may_be_moved(
    world: World, name: str
) -> None:
    customization, model = world.first(name)
    again = world.fit(name, "again")
    assert again.digest == customization.digest
    assert weights(again) == weights(customization)
    moved = world.folder / "moved" / name
    if Path(again.directory).exists():  # a technique may need no file
        shutil.move(again.directory, moved)
    found = made(name).load(replace(again, directory=str(moved)))
    assert texts(found) == texts(model)


class Interrupting(progress.Silent):
    """Stops the work, as Ctrl-C would, when so much of it is done."""

    def __init__(self, after: int) -> None:
        self.left = after

    def start(self, what: str, total: float, unit: str, done: float) -> progress.Task:
        return self

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_fit_that_was_stopped_twice_ends_as_if_it_never_was(world: World, name: str) -> None:
    whole, _ = world.first(name)
    for after in (3, 4):
        try:
            with progress.shown_by(Interrupting(after)):
                world.fit(name, "stopped")
        except KeyboardInterrupt:
            pass
        else:
            assert not weights(whole), "a technique that trains tells of its steps"
    ended = world.fit(name, "stopped")
    assert ended.digest == whole.digest
    assert weights(ended) == weights(whole)


def test_fit_is_handed_no_test_part(world: World, name: str) -> None:
    technique = made(name)
    assert typing.get_type_hints(technique.fit)["data"] is TrainingData
    folder = world.folder / "refused" / name
    try:
        technique.fit(world.base, SPLIT, folder)  # type: ignore[arg-type]
    except (TypeError, AttributeError, SartorError):
        return
    assert not list(folder.rglob("*")), f"{name} took something from a Split"


def test_nothing_that_fit_leaves_holds_the_test_part(world: World, name: str) -> None:
    customization, _ = world.first(name)
    assert [path for path in files(customization) if CANARY.encode() in path.read_bytes()] == []


def test_many_requests_together_get_the_answers_they_get_alone(world: World, name: str) -> None:
    _, model = world.first(name)
    alone = [texts(model, [request])[0] for request in REQUESTS]
    assert texts(model) == alone
    assert texts(model, REQUESTS[::-1]) == alone[::-1]
    assert model.generate([], GREEDY) == []


@pytest.mark.parametrize("stop", [(), ("e", "an")])
def test_the_pieces_of_a_stream_are_the_answer(
    world: World, name: str, stop: tuple[str, ...]
) -> None:
    _, model = world.first(name)
    assert isinstance(model, StreamingLanguageModel)
    sampling = replace(GREEDY, stop=stop, max_new_tokens=24)
    for request, whole in zip(REQUESTS, model.generate(REQUESTS, sampling), strict=True):
        *pieces, last = model.stream(request, sampling)
        assert isinstance(last, Completion)
        assert "".join(map(str, pieces)) == last.text == whole.text
        assert replace(last, seconds=0.0) == replace(whole, seconds=0.0)


def is_pickle(path: Path) -> bool:
    """Whether a file is one that running code reads: a pickle, or torch's archive of one."""
    start = path.read_bytes()[: 1 << 16]
    if path.suffix in {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"} or start[:2] == b"PK":
        return True
    try:
        return start[:1] == b"\x80" and bool(list(pickletools.genops(start)))
    except (ValueError, IndexError):
        return False


def test_nothing_that_fit_leaves_is_a_pickle(world: World, name: str) -> None:
    customization, _ = world.first(name)
    assert [path for path in files(customization) if is_pickle(path)] == []


def test_what_is_trained_is_counted_and_lies_in_safetensors(world: World, name: str) -> None:
    customization, _ = world.first(name)
    assert (customization.trainable_parameters > 0) == bool(weights(customization))
    assert (customization.peak_memory > 0) == bool(weights(customization))
    assert not [path for path in files(customization) if path.name.startswith("training.")]


def test_a_customization_answers_otherwise_than_one_with_another_seed(
    world: World, name: str
) -> None:
    parts = {part: quick(part) for part in spelled_out(name)}
    known = {part: {f.name for f in fields(build(part))} for part in parts}  # type: ignore[arg-type]
    seeded = {p: {**s, "seed": 7} if "seed" in known[p] else s for p, s in parts.items()}
    if seeded == parts:
        return
    other = build(name, defaults=seeded).fit(world.base, TRAINING, world.folder / "other" / name)
    assert other.digest != world.first(name)[0].digest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No technique writes to a terminal: what is to be said goes through `progress`."""
    with progress.shown_by(progress.Silent()):
        yield
