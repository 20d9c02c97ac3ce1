"""Citations: whether the passages that an answer cites, [1], say what it cites them for.

Gao et al. 2023, arXiv:2305.14627, section 4, with the built-in check in the place of their
entailment model. Precision: the share of citations that help to support their sentence; one to a
passage that was not given is wrong. Recall: the share of sentences that the passages they cite
support. Of answers made with passages; precision of those that cite anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers import support
from sartor.evaluation.scorers.claims import CITATION, claims
from sartor.evaluation.scorers.refusal import abstained, says_nothing
from sartor.evaluation.scorers.wording import sentences
from sartor.models.encoder import StaticEncoder

_TRAILING = re.compile(r"([.!?\u3002\uff01\uff1f])((?:\s*\[\d+(?:,\s*\d+)*\])+)")


@dataclass(frozen=True, slots=True)
class _Cited:
    """A sentence, and the numbers of the passages it cites, from 1."""

    claim: str
    numbers: tuple[int, ...]


class CitationPrecision:
    """Share of citations that are right."""

    name: ClassVar[str] = "citation_precision"
    binary: ClassVar[bool] = False

    def made_of(self) -> str:
        return StaticEncoder.revision()

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        found = []
        for prediction in predictions:
            cited = [(c, number) for c in _cited(prediction) for number in c.numbers]
            if cited:
                wrong = [f"[{n}] {c.claim!r}" for c, n in cited if not _helps(prediction, c, n)]
                value = 1 - len(wrong) / len(cited)
                found.append(Score(prediction.example.id, self.name, value, "; ".join(wrong)))
        return found

    def note(self, predictions: Sequence[Prediction], scores: Sequence[Score]) -> str:
        return support.note() if scores else ""


class CitationRecall:
    """Share of sentences that what they cite supports; one that cites nothing is not supported."""

    name: ClassVar[str] = "citation_recall"
    binary: ClassVar[bool] = False

    def made_of(self) -> str:
        return StaticEncoder.revision()

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        found = []
        for prediction in predictions:
            if cited := _cited(prediction):
                bare = [c.claim for c in cited if not _holds(prediction, c.claim, c.numbers)]
                value = 1 - len(bare) / len(cited)
                found.append(Score(prediction.example.id, self.name, value, "; ".join(bare)))
        return found

    def note(self, predictions: Sequence[Prediction], scores: Sequence[Score]) -> str:
        return support.note() if scores else ""


def _cited(prediction: Prediction) -> list[_Cited]:
    if not prediction.completion.passages or abstained(prediction):
        return []
    text = _TRAILING.sub(r"\2\1", prediction.completion.text)  # "so. [1]" belongs to "so"
    found = []
    for sentence in sentences(text):
        said = "".join(claims(sentence))
        if said and not says_nothing(said):
            marks = [n for m in CITATION.findall(sentence) for n in re.findall(r"\d+", m)]
            found.append(_Cited(said, tuple(dict.fromkeys(int(n) for n in marks))))
    return found


def _helps(prediction: Prediction, cited: _Cited, number: int) -> bool:
    """Whether the passage supports the sentence alone, or together with the others it cites and
    not without it."""
    if not 1 <= number <= len(prediction.completion.passages):
        return False
    if _holds(prediction, cited.claim, (number,)):
        return True
    others = tuple(n for n in cited.numbers if n != number)
    together = _holds(prediction, cited.claim, cited.numbers)
    return together and not _holds(prediction, cited.claim, others)


def _holds(prediction: Prediction, claim: str, numbers: Sequence[int]) -> bool:
    passages = prediction.completion.passages
    given = [passages[n - 1] for n in numbers if 1 <= n <= len(passages)]
    asked = "\n".join(turn.content for turn in prediction.example.input)
    texts = [f"{passage.title}\n{passage.text}" for passage in given]
    return bool(texts) and not support.support(claim, texts, asked).doubt
