"""Label: the answer names the right class. Its mean is accuracy; over all examples, macro F1.

Macro F1 is the unweighted mean of each class's F1, so a rare class counts as much as a common one.
It is a figure of all answers together and is not compared pairwise; accuracy is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.records import Example
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorer import Corpus
from sartor.evaluation.scorers.against_targets import scores_over_targets
from sartor.evaluation.scorers.wording import is_article, normalize, stands_as_written, words
from sartor.settings import STRICT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NONE = -1
"""The class of an answer that names no label, or several."""


@dataclass(frozen=True, config=STRICT)
class Label:
    """1 when the answer names a target's label and no other."""

    name: ClassVar[str] = "label"
    binary: ClassVar[bool] = True

    labels: tuple[str, ...] = ()
    """All classes. With them, a label within a sentence is found; without, the answer must be the
    label alone, and macro F1 is over the classes that occur as targets."""

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        return scores_over_targets(
            self.name,
            predictions,
            lambda text, targets: float(self._read(text) in {normalize(t) for t in targets}),
        )

    def corpus(self, predictions: Sequence[Prediction]) -> list[Corpus]:
        """Macro F1 over the examples that have targets and can be answered."""
        import numpy as np

        kept = [p for p in predictions if p.example.targets and p.example.answerable]
        if not kept:
            return []
        said = [self._read(p.completion.text) for p in kept]
        wanted = [
            answer if answer in (rights := [normalize(t) for t in p.example.targets]) else rights[0]
            for answer, p in zip(said, kept, strict=True)
        ]
        names = sorted({normalize(label) for label in self.labels} or set(wanted))
        number = {name: place for place, name in enumerate(names)}
        true = np.array([number.get(name, NONE) for name in wanted])  # (examples,)
        read = np.array([number.get(name, NONE) for name in said])
        return [
            Corpus(
                f"{self.name} (macro F1)",
                tuple(p.example for p in kept),
                lambda times: macro_f1(true, read, times, len(names)),
            )
        ]

    def note(self, predictions: Sequence[Prediction], scores: Sequence[Score]) -> str:
        """How many right answers are none of the labels: one was forgotten, or is misspelt."""
        strange = [p.example for p in predictions if self.labels and self._is_strange(p.example)]
        if not strange:
            return ""
        return (
            f"the right answer of {len(strange):,} of {len(predictions):,} examples, such as "
            f"{strange[0].targets[0]!r}, is none of its labels: there every answer counts as wrong"
        )

    def _is_strange(self, example: Example) -> bool:
        rights = {normalize(target) for target in example.targets}
        return example.answerable and bool(rights) and not rights & set(self._known.values())

    @cached_property
    def _known(self) -> dict[str, str]:
        """Every label as it is compared, by its words with a space on both sides."""
        return {f" {' '.join(words(label))} ": normalize(label) for label in self.labels}

    @cached_property
    def _articles(self) -> tuple[str, ...]:
        return tuple(label for label in self.labels if is_article(label))

    def _read(self, text: str) -> str:
        """The label that a text names; one that lies within another ("card" in "card lost") is
        not named by it. Empty for none, or several."""
        plain = normalize(text)
        if not self._known or plain in self._known.values():
            return plain
        inside = f" {' '.join(words(text))} "
        # "A" is an article to `words`, which leaves those out.
        written = {normalize(one) for one in self._articles if stands_as_written(one, text)}
        found = [key for key, label in self._known.items() if key in inside or label in written]
        longest = [k for k in found if not any(k != other and k in other for other in found)]
        return self._known[longest[0]] if len(longest) == 1 else ""


def macro_f1(
    true: NDArray[np.intp], read: NDArray[np.intp], times: NDArray[np.float64], classes: int
) -> float:
    """Of class numbers (examples,), each counted `times`; NONE is no class, and never right.

    A class that neither occurs nor is said is left out, as in a resample without it.
    """
    import numpy as np

    right = (true == read) & (true != NONE)
    hits = np.bincount(true[right], times[right], classes)
    occurs = np.bincount(true[true != NONE], times[true != NONE], classes)
    named = np.bincount(read[read != NONE], times[read != NONE], classes)
    there = occurs + named > 0
    return float(np.mean(2 * hits[there] / (occurs + named)[there])) if there.any() else 0.0
