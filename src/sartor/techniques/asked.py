"""Answers that a technique asks for while it is fitted: kept as they come, never asked twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from sartor.data.files import digest, from_json, to_json
from sartor.data.records import Conversation
from sartor.errors import DiskError
from sartor.models.language_model import Completion, LanguageModel, Sampling
from sartor.progress import task

BATCH = 32
"""Requests put to a model at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A row of the file."""

    key: str
    """Digest of the model, the conversation and the sampling."""
    text: str
    finish: str
    seconds: float


class Kept:
    """The answers of models, in a file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, Answer] = {}
        if path.is_file():
            for line in path.read_bytes().split(b"\n"):
                try:
                    answer = from_json(Answer, line.decode())
                except (ValidationError, UnicodeDecodeError):  # the empty end, or a killed one's
                    continue
                self._found[answer.key] = answer

    @property
    def seconds(self) -> float:
        """What all of them took, in all sittings."""
        return sum(answer.seconds for answer in self._found.values())

    def ask(
        self, model: LanguageModel, who: str, conversations: Sequence[Conversation],
        sampling: Sampling, what: str,
    ) -> list[Answer]:  # fmt: skip
        """Answers in order; `who` tells models apart, `what` is shown meanwhile."""
        keys = [digest(who, list(one), sampling) for one in conversations]
        new = {k: c for k, c in zip(keys, conversations, strict=True) if k not in self._found}
        if new:
            self._ask(model, new, sampling, what)
        return [self._found[key] for key in keys]

    def _ask(
        self, model: LanguageModel, new: dict[str, Conversation], sampling: Sampling, what: str
    ) -> None:
        keys = list(new)
        with task(what, len(keys), "answers") as bar:
            for start in range(0, len(keys), BATCH):
                part = keys[start : start + BATCH]
                completions = model.generate([new[key] for key in part], sampling)
                answers = [
                    Answer(key, made.text, made.finish, made.seconds)
                    for key, made in zip(part, completions, strict=True)
                ]
                self._append(answers)
                self._found |= {answer.key: answer for answer in answers}
                bar.advance(len(part))

    def _append(self, answers: Sequence[Answer]) -> None:
        rows = "".join(to_json(answer) + "\n" for answer in answers).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read() != b"\n":  # a killed process left part of a line
                        rows = b"\n" + rows
                file.write(rows)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DiskError(
                f"cannot write {self.path}: {error.strerror}. Free some space or check the "
                "folder's rights, and run again: answers made so far are kept."
            ) from error


class Later:
    """A model that is loaded when it is first asked: kept answers need no weights."""

    def __init__(self, load: Callable[[], LanguageModel]) -> None:
        self._load = load

    @cached_property
    def model(self) -> LanguageModel:
        return self._load()

    @property
    def is_loaded(self) -> bool:
        return "model" in vars(self)

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        return self.model.generate(conversations, sampling)
