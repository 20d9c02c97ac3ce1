"""Which of an example's options the candidate's own model finds likeliest: nothing is generated.

The stack stays as it is: prompts are written, examples shown and passages retrieved as for an
answer, and at its core, where that would be written, the options are scored instead, each by the
mean log probability of its tokens. That takes a local model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartor import progress
from sartor.data.files import digest, read_json, write_json
from sartor.data.records import Conversation, Example
from sartor.errors import NoLikelihoodError, PromptTooLongError
from sartor.evaluation.records import NO_ROOM, Prediction
from sartor.evaluation.scorer import Choosing, Scorer
from sartor.evaluation.scorers.own import blamed_on, is_own
from sartor.models.language_model import Completion, Sampling
from sartor.models.likelihood import likeliest, log_likelihoods

AT_ONCE = 64
"""Examples that are put to a model together: their prompts are read once where they begin alike."""


def with_likeliest(
    predictions: Sequence[Prediction],
    scorers: Sequence[Scorer],
    load: Callable[[], Any],
    folder: Path,
    what: str,
) -> list[Prediction]:
    """The predictions, with the option that the model chooses where a scorer asks for it.

    `folder` keeps the choices, so that no model is loaded (`load`) for them twice; `what` names the
    work.
    A model that scores no given texts chooses nothing, and that is said.
    """
    choosing = next((one for one in scorers if isinstance(one, Choosing)), None)
    if choosing is None:
        return list(predictions)
    blame = blamed_on(f"scorer {choosing.name} failed") if is_own(choosing) else nullcontext()
    with blame:
        options = {p.example.id: choosing.likelihood_options(p.example) for p in predictions}
    options = {id: texts for id, texts in options.items() if texts}
    path = folder / f"choices-{digest(options)[:12]}.json"
    if not path.is_file():
        try:
            write_json(path, _choices(predictions, options, load(), what))
        except NoLikelihoodError as error:
            progress.say(f"{what}: {choosing.name}: {error}")
            return list(predictions)
    found = read_json(path, dict[str, int])
    return [
        replace(p, likeliest=found.get(p.example.id, NO_ROOM) if p.example.id in options else None)
        for p in predictions
    ]


def _choices(
    predictions: Sequence[Prediction], options: dict[str, tuple[str, ...]], model: Any, what: str
) -> dict[str, int]:
    """By example id the number of the option, or `NO_ROOM`: that the prompt is too long is the
    candidate's own doing, and is counted against it."""
    core = model
    while hasattr(core, "inner"):
        core = core.inner
    chooser = _Chooser(core)
    stack, found = _around(model, chooser), dict[str, int]()
    at_once = AT_ONCE if _keeps_order(model) else 1
    with progress.task(f"{what}, by likelihood", len(options), "examples") as task:
        asked = [p.example for p in predictions if options.get(p.example.id)]
        for some in (asked[start : start + at_once] for start in range(0, len(asked), at_once)):
            found |= _chosen(stack, chooser, some, options)
            task.advance(len(some))
    return found


def _chosen(
    stack: Any, chooser: _Chooser, examples: Sequence[Example], options: dict[str, tuple[str, ...]]
) -> dict[str, int]:
    """All at once, or one by one where one of them has no room."""
    chooser.options = [options[example.id] for example in examples]
    try:
        made = stack.generate([example.input for example in examples], Sampling())
    except PromptTooLongError:
        if len(examples) == 1:
            return {examples[0].id: NO_ROOM}
        alone = [_chosen(stack, chooser, [example], options) for example in examples]
        return {id: number for one in alone for id, number in one.items()}
    return {example.id: int(one.text) for example, one in zip(examples, made, strict=True)}


def _keeps_order(model: Any) -> bool:
    """Whether the stack hands its requests to its core in their order, each once: ours does."""
    own = type(model).__module__.startswith("sartor.")
    return not hasattr(model, "inner") or (own and _keeps_order(model.inner))


class _Chooser:
    """Stands where the model at the core does, and gives the number of an option for an answer."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.options: list[tuple[str, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        asked = list(conversations)
        found = log_likelihoods(self._core, asked, self.options)
        answers = []
        for likelihoods in found:
            if None in likelihoods:
                raise PromptTooLongError(
                    "the prompt leaves no room for its options in the model's context; use fewer "
                    "passages or examples, or a base with a longer context"
                )
            answers.append(Completion(str(likeliest(likelihoods)), "stop", 0, 0, 0.0))
        return answers


def _around(model: Any, core: Any) -> Any:
    """The same stack with another core; the model itself is left as it is."""
    if not hasattr(model, "inner"):
        return core
    other = copy.copy(model)
    other.inner = _around(model.inner, core)
    return other
