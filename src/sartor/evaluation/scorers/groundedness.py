"""Groundedness: how much of an answer stands in the passages it was given.

Each sentence of the answer is checked. Its numbers, names and dates must stand in the passages; the
rest is judged by an entailment model that you name, or without one by words and embeddings
(support.py), whose accuracy is shown beside the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from pydantic.dataclasses import dataclass

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers import support
from sartor.evaluation.scorers.claims import claims
from sartor.evaluation.scorers.entailment import Entailment, Unreadable, entailment_by
from sartor.evaluation.scorers.exactly import missing
from sartor.evaluation.scorers.place import Placed
from sartor.evaluation.scorers.refusal import abstained
from sartor.models.encoder import StaticEncoder
from sartor.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class Groundedness(Placed):
    """Share of the answer's sentences that the passages support.

    Applies to answers made with passages; an abstention claims nothing, so it gets no score.
    """

    name: ClassVar[str] = "groundedness"
    binary: ClassVar[bool] = False

    entailment: str = ""
    """Folder of a classifier of entailment (a sequence classifier, one of whose labels is named
    "entailment"), or the name of a language model that is asked claim by claim. Empty: the
    built-in check."""

    def made_of(self) -> str:
        if self.entailment:
            return self.place.revision(self.entailment)
        return StaticEncoder.revision()

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        kept = [(p, claims(p.completion.text)) for p in predictions if _applies(p)]
        kept = [(prediction, said) for prediction, said in kept if said]
        doubts = self._by_model(kept) if self.entailment else [_doubts(p, s) for p, s in kept]
        return [
            Score(p.example.id, self.name, 1 - len(found) / len(said), "; ".join(found))
            for (p, said), found in zip(kept, doubts, strict=True)
            if found is not None
        ]

    def note(self, predictions: Sequence[Prediction], scores: Sequence[Score]) -> str:
        if not self.entailment:
            return support.note() if scores else ""
        judged = sum(1 for p in predictions if _applies(p) and claims(p.completion.text))
        if not judged:
            return ""
        unread = judged - len(scores)
        failed = f"; on {unread} of {judged} answers it could not be read, and they have no score"
        return (
            f"entailment by {self.entailment}, whose accuracy here is not known: measure it first "
            f"(documentation: Scorers, Grounding){failed if unread else ''}"
        )

    @cached_property
    def _model(self) -> Entailment:
        return entailment_by(self.name, self.entailment, self.place)

    def _by_model(self, kept: Sequence[tuple[Prediction, list[str]]]) -> list[list[str] | None]:
        """Doubts of each answer; None where the model's verdict on a claim cannot be read."""
        pairs: list[tuple[str, str]] = []
        for prediction, said in kept:
            whole = "\n\n".join(_texts(prediction))
            pairs += [(whole, claim) for claim in said if not missing(claim, _texts(prediction))]
        verdicts = dict(zip(pairs, self._model.verdicts(pairs), strict=True))
        found: list[list[str] | None] = []
        for prediction, said in kept:
            whole, doubts = "\n\n".join(_texts(prediction)), []
            unread = False
            for claim in said:
                exactly = missing(claim, _texts(prediction))
                verdict = "contradicted" if exactly else verdicts[whole, claim]
                unread = unread or isinstance(verdict, Unreadable)
                if verdict != "supported":
                    doubts.append(exactly or f"{verdict}: {claim!r}")
            found.append(None if unread else doubts)
        return found


def _applies(prediction: Prediction) -> bool:
    return bool(prediction.completion.passages) and not abstained(prediction)


def _texts(prediction: Prediction) -> list[str]:
    return [f"{passage.title}\n{passage.text}" for passage in prediction.completion.passages]


def _doubts(prediction: Prediction, said: Sequence[str]) -> list[str]:
    asked = "\n".join(turn.content for turn in prediction.example.input)
    texts = _texts(prediction)
    return [doubt for claim in said if (doubt := support.support(claim, texts, asked).doubt)]
