"""Retrieval: whether the passages put before the model are of the documents that hold the answer.

Recall at k, reciprocal rank and nDCG at k by ir-measures, over documents: of several passages of
one document, the first counts. Of examples that name their evidence, and answers made with
passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.settings import STRICT

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, config=STRICT)
class RecallAtK:
    """Share of the evidence that is among the first k documents."""

    name: ClassVar[str] = "recall_at_k"
    binary: ClassVar[bool] = False

    k: int = 5

    def __post_init__(self) -> None:
        _refuse_k(self.name, self.k)

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        import ir_measures

        return _scores(self.name, predictions, ir_measures.R @ self.k)


@dataclass(frozen=True, config=STRICT)
class ReciprocalRank:
    """One over the rank of the first document that is evidence; 0 when none is found."""

    name: ClassVar[str] = "mrr"
    binary: ClassVar[bool] = False

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        import ir_measures

        return _scores(self.name, predictions, ir_measures.RR)


@dataclass(frozen=True, config=STRICT)
class NDCG:
    """Normalized discounted cumulative gain at k; every document of the evidence gains 1."""

    name: ClassVar[str] = "ndcg"
    binary: ClassVar[bool] = False

    k: int = 5

    def __post_init__(self) -> None:
        _refuse_k(self.name, self.k)

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        import ir_measures

        return _scores(self.name, predictions, ir_measures.nDCG @ self.k)


def _refuse_k(scorer: str, k: int) -> None:
    if k < 1:
        raise SettingError(f"scorer {scorer}: k is {k}; expected 1 or more")


def _scores(scorer: str, predictions: Sequence[Prediction], measure: Any) -> list[Score]:
    import ir_measures

    kept = [p for p in predictions if p.example.evidence and p.completion.passages]
    wanted = [
        ir_measures.Qrel(p.example.id, document, 1)
        for p in kept
        for document in set(p.example.evidence)
    ]
    ranked = [found for p in kept for found in _ranked(p)]
    if not kept:
        return []
    values = {m.query_id: m.value for m in ir_measures.iter_calc([measure], wanted, ranked)}
    return [Score(p.example.id, scorer, min(1.0, float(values[p.example.id]))) for p in kept]


def _ranked(prediction: Prediction) -> Iterator[Any]:
    import ir_measures

    documents = dict.fromkeys(p.document_id for p in prediction.completion.passages)
    for rank, document in enumerate(documents):
        yield ir_measures.ScoredDoc(prediction.example.id, document, float(-rank))
