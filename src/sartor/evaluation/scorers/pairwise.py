"""Pairwise: a language model says which of two answers is better by your rubric, in both orders.

The other answer is the first target, or that of a file (a baseline's). A verdict that turns when
the two are shown the other way round is a draw, and counted: a judge that goes by position, or by
length, shows here. Replies are read strictly, and what cannot be read is no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from sartor.data.records import Conversation, Message
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.agreement import ENOUGH, kappa, read_labels
from sartor.evaluation.scorers.asking import Asking
from sartor.evaluation.scorers.by_id import read_by_id
from sartor.evaluation.scorers.rubric import UNVALIDATED, ByRubric, nothing_read, replied
from sartor.evaluation.statistics import wilson
from sartor.settings import STRICT

Side = Literal["output", "other", "tie"]
VALUES: dict[Side, float] = {"output": 1.0, "tie": 0.5, "other": 0.0}
_TURNED: dict[str, Side] = {"first": "other", "second": "output", "tie": "tie"}
_STRAIGHT: dict[str, Side] = {"first": "output", "second": "other", "tie": "tie"}


@dataclass(frozen=True)
class Pair:
    """A request, the answer that is judged, and the one it is held against."""

    asked: Conversation
    output: str
    other: str


@dataclass(frozen=True, config=STRICT)
class Pairwise(ByRubric):
    """1 where the answer is preferred in both orders, 0 where the other is, else a half. Rows of
    `labels` are of an expert's choices, `{"id", "input", "output", "other", "label"}`, the label
    being `output`, `other` or `tie`."""

    name: ClassVar[str] = "pairwise"
    binary: ClassVar[bool] = False

    against: str = ""
    """Path of a JSONL file of the other answers, `{"id", "output"}`; empty: the first target."""

    def check(self) -> None:
        """Raises SettingError where the model, the rubric or a file is not there."""
        self._refuse_unready(self.name)
        _ = self._labels, self._others

    @property
    def _files(self) -> list[Path]:
        against = [self.place.folder / self.against] if self.against else []
        return [*super()._files, *against]

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Of examples that have another answer to be held against."""
        kept = self._kept(predictions)
        verdicts = self._verdicts([pair for _, pair in kept])
        return [
            Score(p.example.id, self.name, VALUES[_joined(both)], _why(both))
            for (p, _), both in zip(kept, verdicts, strict=True)
            if None not in both
        ]

    def note(self, predictions: Sequence[Prediction], scores: Sequence[Score]) -> str:
        pairs = [pair for _, pair in self._kept(predictions)]
        verdicts = self._verdicts(pairs)
        read = [(p, both) for p, both in zip(pairs, verdicts, strict=True) if None not in both]
        parts = [self._validity()]
        if read:
            turned = sum(one != two for _, (one, two) in read)
            parts.append(f"{turned / len(read):.0%} of verdicts turned with the order")
            parts.append(_length_told([(pair, _joined(both)) for pair, both in read]))
        if failed := len(pairs) - len(read):
            parts.append(f"{failed} of {len(pairs)} pairs could not be read and have no score")
        return "; ".join(part for part in parts if part)

    def _validity(self) -> str:
        pairs = [
            Pair((Message("user", r["input"]),), r["output"], r["other"]) for r in self._labels
        ]
        rows = [
            (pair, _joined(both), row["label"])
            for pair, both, row in zip(pairs, self._verdicts(pairs), self._labels, strict=True)
            if None not in both
        ]
        if not rows:
            return nothing_read(pairs) if pairs else UNVALIDATED
        found = kappa([said for _, said, _ in rows], [right for _, _, right in rows])
        mine = _longer([(pair, said) for pair, said, _ in rows])
        experts = _longer([(pair, right) for pair, _, right in rows])
        biased = bool(mine[1]) and wilson(*mine).low > experts[0] / max(1, experts[1])
        valid = len(rows) >= ENOUGH and found >= self.min_kappa and not biased
        told = f"{'validated' if valid else 'unvalidated'}: against {len(rows)} choices of an "
        told += f"expert, kappa {found:.2f}"
        if len(rows) < len(pairs):
            told += (
                f"; {len(pairs) - len(rows)} more have a label and no verdict that could be read"
            )
        if biased:
            told += (
                f"; it prefers the longer answer in {mine[0]} of {mine[1]} choices, the expert in "
                f"{experts[0]} of {experts[1]}: do not decide by it"
            )
        return told

    def _kept(self, predictions: Sequence[Prediction]) -> list[tuple[Prediction, Pair]]:
        found = []
        for prediction in predictions:
            example, text = prediction.example, prediction.completion.text
            target = example.targets[0] if example.targets else None
            other = self._others.get(example.id) if self.against else target
            if other is not None:
                found.append((prediction, Pair(example.input, text, other)))
        return found

    def _verdicts(self, pairs: Sequence[Pair]) -> list[tuple[Side | None, Side | None]]:
        """Of each pair, the verdicts in both orders; None for one that cannot be read."""
        straight = [self._question(p.asked, p.output, p.other) for p in pairs]
        turned = [self._question(p.asked, p.other, p.output) for p in pairs]
        replies = self._asking.answers([*straight, *turned])
        return [
            (_read(one, _STRAIGHT), _read(two, _TURNED))
            for one, two in zip(replies[: len(pairs)], replies[len(pairs) :], strict=True)
        ]

    @cached_property
    def _asking(self) -> Asking:
        return Asking(self.place, self.model, 32)

    @cached_property
    def _others(self) -> dict[str, str]:
        if not self.against:
            return {}
        return read_by_id(self.place.file(self.name, "against", self.against), self.name, "output")

    @cached_property
    def _labels(self) -> list[dict[str, Any]]:
        if not self.labels:
            return []
        path = self.place.file(self.name, "labels", self.labels)
        rows: list[dict[str, Any]] = read_labels(
            path, self.name, ("id", "input", "output", "other"), lambda label: label in VALUES
        )
        return rows

    def _question(self, asked: Conversation, first: str, second: str) -> Conversation:
        return self._put(
            "You compare two answers",
            '{"better": "first"}, {"better": "second"} or {"better": "tie"}',
            asked,
            [("first", first), ("second", second)],
            "As JSON:",
        )


def _read(reply: str, sides: dict[str, Side]) -> Side | None:
    said = replied(reply, "better")
    return sides.get(said) if isinstance(said, str) else None


def _joined(both: tuple[Side | None, Side | None]) -> Side:
    return both[0] if both[0] == both[1] and both[0] else "tie"


def _why(both: tuple[Side | None, Side | None]) -> str:
    return "" if both[0] == both[1] else "the verdict turned with the order"


def _longer(judged: Sequence[tuple[Pair, str]]) -> tuple[int, int]:
    """How often the longer was preferred, of how many decided pairs of unlike length."""
    decided = [
        (len(pair.output) > len(pair.other)) == (side == "output")
        for pair, side in judged
        if side != "tie" and len(pair.output) != len(pair.other)
    ]
    return sum(decided), len(decided)


def _length_told(judged: Sequence[tuple[Pair, str]]) -> str:
    longer, n = _longer(judged)
    if not n:
        return ""
    found = wilson(longer, n)
    return f"the longer was preferred in {longer / n:.0%} ({found.low:.0%} to {found.high:.0%})"
