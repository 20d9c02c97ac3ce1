"""Put examples to a model, and keep each answer the moment it is made.

Answers go to a JSONL file, batch by batch, each batch on the disk before the next begins; a killed
run goes on where it stopped. The file's first line says what the answers were made from: when that
has changed, they are thrown away.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from sartor import progress
from sartor.data.files import digest, from_json, to_json, write_text
from sartor.data.records import Example
from sartor.errors import DataError, DiskError, ModelError, PromptTooLongError
from sartor.evaluation.records import Prediction
from sartor.models.language_model import Completion, LanguageModel, Sampling
from sartor.models.memory import give_back, ran_out

BEGINNING = 200
"""Characters; messages that begin with as many alike are taken to hold one document."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a file of answers."""

    answers_to: str
    """Digest of the examples' ids and inputs, the sampling, and the caller's key."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Every other line."""

    id: str
    completion: Completion


def predict(
    model: LanguageModel,
    examples: Sequence[Example],
    sampling: Sampling,
    path: Path,
    what: str,
    batch: int = 32,
    key: str = "",
) -> list[Prediction]:
    """The model's answer to each example, in the order of the examples.

    `path` keeps the answers; `what` names the work for people; `key` is the digest of whatever
    else the answers depend on (the customization). A prompt that leaves no room for an answer has
    an empty one; PromptTooLongError where all do. Where memory runs out, half as many are asked at
    once of those that are left. What else the model raises is passed on.
    """
    _refuse_repeated(examples)
    header = Header(_digest_of(examples, sampling, key))
    made = _resume(path, header, {example.id for example in examples})
    waiting = _in_order([example for example in examples if example.id not in made])
    with (
        progress.task(what, len(examples), "answers", done=len(made)) as task,
        path.open("a", encoding="utf-8", newline="\n") as file,
    ):
        while waiting:
            group = waiting[: max(1, batch)]
            answers = _ask_if_room(model, group, sampling)
            if answers is None:
                batch = _halved(len(group), what)
                continue
            _append(file, answers)
            made.update((answer.id, answer.completion) for answer in answers)
            waiting = waiting[len(group) :]
            task.advance(len(group))
    without = sum(completion.finish == "no_room" for completion in made.values())
    if without:
        said = f"{what}: {without} of {len(made)} prompts leave no room for an answer"
        if without == len(made):
            raise PromptTooLongError(
                f"{said} in the model's context. Use fewer passages or examples, or choose a base "
                "with a longer context."
            )
        progress.say(f"{said} in the model's context; they count as unanswered")
    if held := sum(completion.finish == "content_filter" for completion in made.values()):
        progress.say(
            f"{what}: the provider's content filter held back {held} of {len(made)} answers; they "
            "count as unanswered"
        )
    return [Prediction(example, made[example.id]) for example in examples]


def _digest_of(examples: Sequence[Example], sampling: Sampling, key: str) -> str:
    asked = sorted((example.id, digest(example.input)) for example in examples)
    return digest(asked, sampling, key)


def _in_order(examples: Sequence[Example]) -> list[Example]:
    """Those that begin alike together, so that a model reads that once, and like lengths, so that
    little is padded; the longest first, so that a model that runs out of memory does so at once."""
    longest: dict[str, int] = {}
    for example in examples:
        beginning = _beginning(example)
        longest[beginning] = max(longest.get(beginning, 0), _length(example))

    def place(example: Example) -> tuple[int, str, int, str]:
        beginning = _beginning(example)
        return -longest[beginning], beginning, -_length(example), example.id

    return sorted(examples, key=place)


def _beginning(example: Example) -> str:
    """What is read before a question: earlier messages, and a document at the head of the last."""
    *earlier, last = example.input
    said = [f"{message.role}\n{message.content}" for message in earlier]
    return "\n".join([*said, last.content[:BEGINNING]])


def _length(example: Example) -> int:
    return sum(len(message.content) for message in example.input)


def _ask_if_room(
    model: LanguageModel, examples: Sequence[Example], sampling: Sampling
) -> list[Answer] | None:
    """None where memory ran out and fewer at once may fit."""
    try:
        return _ask(model, examples, sampling)
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error) or len(examples) == 1:
            raise
    return None  # outside, where what was raised no longer holds on to tensors


def _halved(failed: int, what: str) -> int:
    give_back()
    progress.say(
        f"{what}: out of memory with {failed} requests at once: batch_size is {failed // 2} from "
        "here on"
    )
    return failed // 2


def _ask(model: LanguageModel, examples: Sequence[Example], sampling: Sampling) -> list[Answer]:
    try:
        completions = model.generate([example.input for example in examples], sampling)
    except PromptTooLongError:
        if len(examples) > 1:
            half = len(examples) // 2
            return [
                *_ask(model, examples[:half], sampling),
                *_ask(model, examples[half:], sampling),
            ]
        completions = [Completion("", "no_room", prompt_tokens=0, new_tokens=0, seconds=0.0)]
    if len(completions) != len(examples):
        raise ModelError(
            f"the model gave {len(completions)} answers to {len(examples)} requests; expected one "
            "for each, in order. Mend `generate` of its technique."
        )
    return [Answer(e.id, completion) for e, completion in zip(examples, completions, strict=True)]


def _append(file: TextIO, answers: Sequence[Answer]) -> None:
    try:
        file.write("".join(to_json(answer) + "\n" for answer in answers))
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise DiskError(
            f"cannot write {file.name}: {error.strerror}. Free some space or check the folder's "
            "rights, and run again: answers made so far are kept."
        ) from error


def _resume(path: Path, header: Header, known: set[str]) -> dict[str, Completion]:
    """The answers that are in the file already; afterwards it is ready to be appended to."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # the last has no end
    if not lines or lines[0].decode(errors="replace") != to_json(header):
        if lines:
            progress.say(f"{path.name}: made from other inputs; its answers are made anew.")
        write_text(path, to_json(header) + "\n")
        return {}
    answers = _whole(lines[1:], known)
    kept = sum(len(line) + 1 for line in lines[: 1 + len(answers)])
    if kept < path.stat().st_size:
        os.truncate(path, kept)
    return {answer.id: answer.completion for answer in answers}


def _whole(lines: Sequence[bytes], known: set[str]) -> list[Answer]:
    """The answers up to the first line that is broken: a crash leaves nothing whole behind it."""
    answers: list[Answer] = []
    for line in lines:
        try:
            answer = from_json(Answer, line.decode())
        except (ValidationError, json.JSONDecodeError, UnicodeDecodeError):
            break
        if answer.id not in known:
            break
        answers.append(answer)
    return answers


def _refuse_repeated(examples: Sequence[Example]) -> None:
    [(first, times)] = Counter(example.id for example in examples).most_common(1) or [("", 0)]
    if times > 1:
        raise DataError(
            f"{times} examples have the id {first!r}; expected each id once. Rename the others."
        )
