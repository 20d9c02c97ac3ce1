"""Judge: a language model grades each answer by your rubric.

Its reply is read strictly: one JSON object, one grade on the scale, nothing around it. What cannot
be read is no score; it is counted and never guessed. Each answer is graded several times, which
shows the judge's noise. Until it has been held against an expert's labels of the same kind of
answers, everything it says is marked unvalidated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from statistics import fmean, pstdev
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.example_rows import turns
from sartor.data.fields import BadRow
from sartor.data.records import Conversation, Message
from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.agreement import Agreement, agreement, read_labels
from sartor.evaluation.scorers.asking import Asking
from sartor.evaluation.scorers.rubric import UNVALIDATED, ByRubric, nothing_read, replied
from sartor.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class Judge(ByRubric):
    """The mean grade, from 0 (the lowest of the scale) to 1. Rows of `labels` are of an expert's
    grades, `{"id", "output", "label"}`, with `input` (text, or turns as in an example's `turns`)
    where the id is of no test example."""

    name: ClassVar[str] = "judge"
    binary: ClassVar[bool] = False

    lowest: int = 1
    highest: int = 5
    """The scale."""
    repeats: int = 3
    """How often each answer is graded. The cost grows with it."""
    temperature: float = 0.7
    """Of the repeats; at 0 a local judge says the same thing each time."""

    def __post_init__(self) -> None:
        if self.lowest >= self.highest or self.repeats < 1:
            raise SettingError(
                f"scorer judge: the scale is {self.lowest} to {self.highest}, graded "
                f"{self.repeats} times; expected a lowest below the highest, and 1 or more times"
            )

    def check(self) -> None:
        """Raises SettingError where the model, the rubric or the labels are not there."""
        self._refuse_unready(self.name)
        _ = self._labels

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        asked = [(p.example.input, p.completion.text) for p in predictions]
        found = []
        for prediction, grades in zip(predictions, self._grades(asked), strict=True):
            if grades:
                said = ", ".join(str(grade) for grade in grades)
                why = f"graded {said} of {self.highest}"
                found.append(Score(prediction.example.id, self.name, self._share(grades), why))
        return found

    def note(self, predictions: Sequence[Prediction], scores: Sequence[Score]) -> str:
        asked = [(p.example.input, p.completion.text) for p in predictions]
        grades = self._grades(asked)
        failed = sum(self.repeats - len(one) for one in grades)
        parts = [self._validity(predictions)]
        if self.repeats > 1 and (several := [pstdev(one) for one in grades if len(one) > 1]):
            parts.append(
                f"grades of one answer differ by {fmean(several):.2f} (standard deviation over its "
                f"{self.repeats} repeats)"
            )
        if failed:
            unread = sum(1 for one in grades if not one)
            parts.append(
                f"{failed} of {self.repeats * len(grades)} replies could not be read; "
                f"{unread} answers have no score"
            )
        return "; ".join(parts)

    def agreement(self, predictions: Sequence[Prediction]) -> Agreement | None:
        """With the expert, on the answers that the expert labelled; None without any."""
        inputs = {p.example.id: p.example.input for p in predictions}
        rows = [row for row in self._labels if row.get("input") or row["id"] in inputs]
        asked = [(row.get("input") or inputs[row["id"]], row["output"]) for row in rows]
        read = [
            (fmean(grades), float(row["label"]), len(row["output"]))
            for grades, row in zip(self._grades(asked), rows, strict=True)
            if grades
        ]
        return agreement(*map(list, zip(*read, strict=True))) if read else None  # type: ignore[arg-type]

    def _validity(self, predictions: Sequence[Prediction]) -> str:
        if not self._labels:
            return UNVALIDATED
        found = self.agreement(predictions)
        return (
            found.told(self.min_kappa, len(self._labels)) if found else nothing_read(self._labels)
        )

    def _share(self, grades: Sequence[int]) -> float:
        return (fmean(grades) - self.lowest) / (self.highest - self.lowest)

    @cached_property
    def _labels(self) -> list[dict[str, Any]]:
        if not self.labels:
            return []
        path = self.place.file(self.name, "labels", self.labels)
        rows: list[dict[str, Any]] = read_labels(path, self.name, ("id", "output"), self._is_grade)
        return [self._with_turns(row) if row.get("input") else row for row in rows]

    def _with_turns(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Its `input` as a conversation; SettingError for what is none."""
        said = row["input"]
        try:
            asked = (Message("user", said),) if isinstance(said, str) else turns(row, "input")
        except BadRow as error:
            raise SettingError(
                f"scorer {self.name}: {self.labels}: the row of id {row['id']!r}: {error}. Write "
                "the input as text, or as its turns."
            ) from error
        return {**row, "input": asked}

    @cached_property
    def _asking(self) -> Asking:
        return Asking(self.place, self.model, 32, self.temperature if self.repeats > 1 else 0.0)

    def _grades(self, asked: Sequence[tuple[Conversation, str]]) -> list[list[int]]:
        """Of each answer the grades that could be read."""
        questions = [self._question(conversation, answer) for conversation, answer in asked]
        rounds = [self._asking.answers(questions, seed=seed) for seed in range(self.repeats)]
        return [
            [grade for reply in replies if (grade := self._read(reply)) is not None]
            for replies in zip(*rounds, strict=True)
        ]

    def _question(self, conversation: Conversation, answer: str) -> Conversation:
        return self._put(
            f"You grade an answer from {self.lowest} (worst) to {self.highest} (best)",
            '{"grade": N}',
            conversation,
            [("answer", answer)],
            "The grade, as JSON:",
        )

    def _read(self, reply: str) -> int | None:
        said = replied(reply, "grade")
        return said if self._is_grade(said) else None

    def _is_grade(self, value: Any) -> bool:
        return type(value) is int and self.lowest <= value <= self.highest
