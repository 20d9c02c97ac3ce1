"""What customizing made a model forget: its general ability before and after.

Tasks are multiple choice in files of your own, one `{"question", "choices", "answer"}` a line
(`answer` is the number of the right choice, from 0), or tasks of lm-evaluation-harness by name
(harness.py). The model chooses the option that it finds likeliest, by the mean log probability of
its tokens. Both models answer the same questions, so the loss is a paired difference. Prompts and
passages change no weights: what is asked is the model inside them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.data.files import digest, read_json, write_json
from sartor.data.records import Message
from sartor.errors import SettingError
from sartor.evaluation.paired import pair
from sartor.evaluation.records import Forgotten
from sartor.models.likelihood import likeliest, log_likelihoods

Results = dict[str, float]
"""By question (`task/number`), how well it was answered: 0 to 1."""


@dataclass(frozen=True, slots=True)
class Question:
    """One multiple-choice question."""

    id: str
    text: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Gate:
    """The tasks, and how much may be lost."""

    folder: Path
    """Files are relative to it."""
    tasks: tuple[str, ...]
    """Paths that end in .jsonl, and names of the harness's tasks."""
    task_folder: str
    """Where the harness's own YAML files are; empty for those that come with it."""
    limit: int | None
    """At most so many questions of a task."""
    max_loss: float
    """Of the mean, 0 to 1."""

    @property
    def key(self) -> str:
        """Digest of what the questions are."""
        files = [self.folder / task for task in self.tasks if task.endswith(".jsonl")]
        found = sorted((self.folder / self.task_folder).rglob("*")) if self.task_folder else []
        read = [path.read_bytes() for path in (*files, *found) if path.is_file()]
        return digest(self.tasks, self.limit, *read)

    def check(self) -> None:
        """Raises SettingError for a file that cannot be read as questions."""
        for task in self.tasks:
            if task.endswith(".jsonl"):
                read_questions(self.folder / task)

    def results(self, model: Any, kept: Path) -> Results:
        """What a model makes of all tasks; `kept` has them once they were made."""
        if kept.is_file():
            return read_json(kept, dict[str, float])
        found: Results = {}
        for task in self.tasks:
            if task.endswith(".jsonl"):
                questions = read_questions(self.folder / task)[: self.limit]
                found |= by_likelihood(model, questions)
            else:
                from sartor.evaluation.harness import by_harness

                folder = self.folder / self.task_folder if self.task_folder else None
                found |= by_harness(model, task, folder, self.limit)
        write_json(kept, found)
        return found

    def forgotten(self, before: Results, after: Results) -> Forgotten:
        """The loss, with its paired 95 % interval."""
        shared = sorted(before.keys() & after.keys())
        one, two = [before[id] for id in shared], [after[id] for id in shared]
        found = pair(one, two, [("id", id) for id in shared], 0)
        interval = found.interval()
        n = len(shared)
        return Forgotten(
            sum(one) / n, sum(two) / n, found.difference, interval.low, interval.high, n,
            self.max_loss,
        )  # fmt: skip


def by_likelihood(model: Any, questions: Sequence[Question]) -> Results:
    """1 for each question whose right option is the likeliest; one without room is wrong."""
    asked = [(Message("user", question.text),) for question in questions]
    found = log_likelihoods(model, asked, [question.choices for question in questions])
    return {
        question.id: float(likeliest(options) == question.answer)
        for question, options in zip(questions, found, strict=True)
    }


def read_questions(path: Path) -> list[Question]:
    """Raises SettingError naming the line that is no question."""
    if not path.is_file():
        raise SettingError(f"[forgetting] tasks: there is no file {path}. Correct its path.")
    found = []
    for number, line in enumerate(path.read_text("utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            choices = tuple(str(choice) for choice in row["choices"])
            question = Question(f"{path.name}/{number}", row["question"], choices, row["answer"])
            if not isinstance(question.text, str) or not all(choices) or len(choices) < 2:
                raise ValueError("a question is text, with two choices or more")
            if type(question.answer) is not int or not 0 <= question.answer < len(choices):
                raise ValueError("answer is the number of a choice, from 0")
        except (ValueError, KeyError, TypeError) as error:
            raise SettingError(
                f"{path}:{number} is no question ({error}). Expected "
                '{"question": "...", "choices": ["...", "..."], "answer": 0}.'
            ) from error
        found.append(question)
    if not found:
        raise SettingError(f"[forgetting] tasks: {path} holds no question. Add some.")
    return found


def told(found: Forgotten) -> str:
    """In words, for the report."""
    spans = f"{found.loss:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    verdict = "more than" if found.loss > found.limit else "within"
    unsure = (
        "; the interval does not rule out more" if found.high > found.limit >= found.loss else ""
    )
    return (
        f"a loss of general ability of {spans} on {found.n} questions, from {found.before:.3f} to "
        f"{found.after:.3f}: {verdict} the limit of {found.limit:g}{unsure}"
    )
