"""The user's own ways of scoring: a function, a class that scores one answer, an `evaluate` metric.

A function takes the prediction, or the answer's text and the targets, and returns 0 to 1, or None
where it does not apply:

    def polite(output: str, targets: tuple[str, ...]) -> float:
        return float("please" in output)
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sartor.data.files import digest
from sartor.errors import MissingExtraError, SartorError, SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.place import Place, digest_of

EVALUATE = "evaluate:"
"""How the name of a metric of the `evaluate` library begins."""
ALLOWED = "allow_execution"


@contextmanager
def blamed_on(what: str) -> Iterator[None]:
    """Whatever the user's own code raises inside, it is told as a SettingError that says where."""
    try:
        yield
    except SartorError:
        raise
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise SettingError(
            f"{what}: {error!r} ({frame.filename}:{frame.lineno}). Mend it, and run again: answers "
            "made so far are kept."
        ) from error


def is_own(scorer: object) -> bool:
    """Whether its class is the user's."""
    return type(scorer).__module__.partition(".")[0] != "sartor"


class OneByOne:
    """A scorer made of something that judges one prediction at a time."""

    def __init__(self, name: str, judge: Callable[[Prediction], Any], binary: bool, source: str):
        self.name = name
        self.binary = binary
        self._judge = judge
        self._source = source

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Raises SettingError, naming the example, for what is no number."""
        found = []
        for prediction in predictions:
            with blamed_on(f"scorer {self.name} failed on {prediction.example.id!r}"):
                value = self._judge(prediction)
            if value is not None:
                found.append(Score(prediction.example.id, self.name, self._number(value)))
        return found

    def made_of(self) -> str:
        return self._source

    def _number(self, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise SettingError(
                f"scorer {self.name} returned {value!r}; expected a number from 0 to 1, or None "
                "where it does not apply. Mend what it returns."
            ) from error


def as_scorer(judge: Any, name: str, settings: Mapping[str, Any]) -> Any:
    """A scorer from a function, or from an object whose `score_one` judges one prediction."""
    if not hasattr(judge, "score_one"):
        return _of_function(judge, name, dict(settings))
    source = _source_of(type(judge))
    return OneByOne(
        getattr(judge, "name", name), judge.score_one, getattr(judge, "binary", False), source
    )


def _of_function(judge: Callable[..., Any], name: str, settings: dict[str, Any]) -> OneByOne:
    """`binary = true` in the settings says that it returns nothing but 0 and 1."""
    binary = settings.pop("binary", getattr(judge, "binary", False))
    named = list(inspect.signature(judge).parameters.values())
    given = [p for p in named if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    known = {p.name for p in named} - {p.name for p in given}
    for key in settings.keys() - known:
        raise SettingError(
            f"scorer {name}: unknown setting {key!r}; "
            f"known: {', '.join(sorted({'binary', *known}))}"
        )
    source = _source_of(judge)
    if len(given) == 1:
        return OneByOne(name, lambda p: judge(p, **settings), binary, source)
    if len(given) == 2:
        return OneByOne(
            name, lambda p: judge(p.completion.text, p.example.targets, **settings), binary, source
        )
    raise SettingError(
        f"scorer {name}: the function takes {len(given)} values; expected one (the prediction) or "
        "two (the answer's text and the targets)"
    )


def of_file(path: str, place: Place) -> Any:
    """What `metrics.py:name` stands for: a name in a file of the project."""
    file, _, attribute = path.partition(":")
    found = place.file(path, "its file", file)
    made = importlib.util.spec_from_file_location(f"sartor_project_{found.stem}", found)
    assert made is not None  # it ends in .py
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    try:
        made.loader.exec_module(module)
        return getattr(module, attribute)
    except (Exception, SystemExit) as error:  # it is the user's code, which may raise anything
        raise SettingError(
            f"scorer {path!r} cannot be loaded: {error!r}. Expected 'file.py:name'."
        ) from error


def library_metric(kind: str, name: str, settings: Mapping[str, Any], place: Place) -> OneByOne:
    """A metric of the `evaluate` library, asked example by example.

    After `evaluate:` stands the folder, or with `allow_execution` the name, that `evaluate.load`
    takes: under a name it fetches a script from the hub, and runs it. `key` is which of the results
    is the score (the first, without it). The rest of the settings goes to `compute`. Metrics that
    run on a scale of 0 to 100 take `scale = 100`.
    """
    path, rest = kind.removeprefix(EVALUATE), dict(settings)
    key, scale, allowed = rest.pop("key", None), rest.pop("scale", 1), rest.pop(ALLOWED, False)
    if type(scale) not in (int, float) or not 0 < scale < math.inf:
        raise SettingError(
            f"scorer {name}: scale is {scale!r}; expected what the metric's best result is, a "
            "number above 0, such as 100"
        )
    folder = place.folder / Path(path).expanduser()
    if folder.exists():
        path = str(folder)
    elif allowed is not True:
        raise SettingError(
            f"scorer {name}: {path!r} is no folder in {place.folder.resolve()}, and by a bare name "
            "a script would be fetched from the hub and run here, which nobody has allowed. Name "
            f"the metric's folder; or, if you trust it, set {ALLOWED} = true under "
            f"[scorers.{name}]."
        )
    try:
        import evaluate
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"scorer {name}", "evaluate", "harness") from error
    try:
        metric = evaluate.load(path)
    except Exception as error:  # it looks in many places, each with errors of its own
        raise SettingError(
            f"scorer {name}: evaluate cannot load {path!r}: {error}. Name a folder that holds the "
            "metric."
        ) from error

    def judge(prediction: Prediction) -> float | None:
        targets = prediction.example.targets
        if not targets:
            return None
        values = [
            metric.compute(predictions=[prediction.completion.text], references=[t], **rest)
            for t in targets
        ]
        chosen = key or next(iter(values[0]))
        if chosen not in values[0]:
            raise SettingError(
                f"scorer {name}: {path} has no result {chosen!r}; known: {', '.join(values[0])}"
            )
        return max(float(value[chosen]) for value in values) / float(scale)

    scripts = [folder] if folder.is_file() else sorted(folder.glob("*.py"))
    return OneByOne(name, judge, False, digest_of(*scripts))


def _source_of(made: Any) -> str:
    try:
        return digest(Path(inspect.getfile(made)).read_bytes())
    except (TypeError, OSError):  # made in a session, not in a file
        return ""
