"""Retrieval-augmented generation: passages found for the request are put before the model.

Wraps any technique: the one inside is trained on prompts that hold the retrieved passages, right
and wrong ones alike, because that is what it will see (RAFT, arXiv:2403.10131). Answers carry the
passages as citations. Passages are data: they are numbered and set apart, and hold no control token
(see models/chat.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.passages import cut
from sartor.data.records import Conversation, Example, Passage, TrainingData
from sartor.errors import SettingError
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.progress import task
from sartor.retrieval.hybrid import HybridRetriever
from sartor.settings import STRICT
from sartor.techniques.technique import Customization
from sartor.techniques.wrapping import (
    ANSWER_ROOM,
    Fits,
    Unloaded,
    around,
    asked,
    innermost,
    load_inner,
    save_inner,
    stream_with_fewer,
    with_fewer,
    with_passages,
)
from sartor.techniques.zero_shot import ZeroShot, with_system

INSTRUCTION = (
    "Answer the question from the passages, as briefly as you can. "
    "If they do not hold the answer, say: I don't know."
)
BATCH = 64


@dataclass(frozen=True, config=STRICT)
class Rag:
    """Hybrid retrieval (BM25 and dense) over the documents, before the technique inside."""

    name: ClassVar[str] = "rag"
    inner: Any = ZeroShot()
    """The technique that reads the passages and answers."""
    top_k: int = 3
    """Passages a request; more find more and cost more, in seconds and in distraction."""
    passage_characters: int = 600
    """About how long a passage is; records of a catalogue stay whole."""
    system: str = INSTRUCTION

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise SettingError(
                f"rag: top_k is {self.top_k}; it must be 1 or more (3 to 8 is usual)"
            )
        if self.passage_characters < 100:
            raise SettingError(
                f"rag: passage_characters is {self.passage_characters}; it must be 100 or more "
                "(500 to 1500 is usual)"
            )

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Index the documents; fit the technique inside on prompts with retrieved passages."""
        began = time.perf_counter()
        passages = [
            passage
            for document in data.documents
            for passage in cut(document, self.passage_characters)
        ]
        retriever = HybridRetriever(directory / "index")
        retriever.index(passages)
        trained = not isinstance(innermost(self.inner), ZeroShot)
        read = self._with_passages(data, retriever, base) if trained else data
        own = time.perf_counter() - began
        inner = save_inner(self.inner, base, read, directory)
        return around(
            self,
            inner,
            directory,
            made_of=passages,
            seconds=own,
            note=f"{len(passages)} passages indexed",
        )

    def load(self, customization: Customization) -> LanguageModel:
        """The technique inside, behind the index."""
        retriever = HybridRetriever(Path(customization.directory) / "index")
        inner = load_inner(self.inner, customization)
        return Retrieving(inner, retriever, self.top_k, self.system)

    def _with_passages(
        self, data: TrainingData, retriever: HybridRetriever, base: ModelCard
    ) -> TrainingData:
        fits = Fits(Unloaded(base, self.inner))

        def read(examples: Sequence[Example]) -> tuple[Example, ...]:
            made: list[Example] = []
            with task("retrieve for training", len(examples), "examples") as bar:
                for start in range(0, len(examples), BATCH):
                    part = examples[start : start + BATCH]
                    hits = retriever.search([asked(e.input) for e in part], self.top_k)
                    for example, found in zip(part, hits, strict=True):
                        longest = max(map(len, (*example.targets[:1], *example.rejected)))
                        answer = max(ANSWER_ROOM, longest // 2)
                        wrapped, _ = put_before(
                            example.input, [h.passage for h in found], self.system, fits, answer
                        )
                        made.append(replace(example, input=wrapped))
                    bar.advance(len(part))
            return tuple(made)

        return data.changed(lambda part: read(part) if part else ())


def put_before(
    conversation: Conversation, passages: Sequence[Passage], system: str, fits: Any, answer: int
) -> tuple[Conversation, tuple[Passage, ...]]:
    """The conversation with as many passages as fit before its last request, and those passages."""
    conversation = with_system(conversation, system)
    for count in range(len(passages), 0, -1):
        wrapped = with_passages(conversation, passages[:count])
        if fits(wrapped, answer):
            return wrapped, tuple(passages[:count])
    return conversation, ()


class Retrieving:
    """A model that reads passages found for the request before it answers."""

    def __init__(self, inner: Any, retriever: HybridRetriever, top_k: int, system: str) -> None:
        self.inner = inner
        self.retriever = retriever
        self.top_k = top_k
        self.system = system
        self._fits = Fits(inner)

    def prompt_tokens(self, conversation: Conversation) -> int:
        """Without passages: they take what room is left."""
        return int(self.inner.prompt_tokens(with_system(conversation, self.system)))

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        most = self._most(conversations)
        return with_fewer(
            lambda some, most: self._answers(some, sampling, most), conversations, most
        )

    def _answers(
        self, conversations: Sequence[Conversation], sampling: Sampling, most: int
    ) -> list[Completion]:
        began = time.perf_counter()
        read = self._read(conversations, sampling.max_new_tokens, most)
        searching = (time.perf_counter() - began) / max(1, len(conversations))
        completions = self.inner.generate([wrapped for wrapped, _ in read], sampling)
        return [
            replace(c, passages=passages, seconds=c.seconds + searching)
            for c, (_, passages) in zip(completions, read, strict=True)
        ]

    def stream(self, conversation: Conversation, sampling: Sampling) -> Iterator[str | Completion]:
        def pieces(most: int) -> Iterator[str | Completion]:
            [(wrapped, passages)] = self._read([conversation], sampling.max_new_tokens, most)
            for piece in self.inner.stream(wrapped, sampling):
                whole = isinstance(piece, Completion)
                yield replace(piece, passages=passages) if whole else piece

        return stream_with_fewer(pieces, self._most([conversation]))

    def _most(self, conversations: Sequence[Conversation]) -> int:
        return self._fits.most([with_system(c, self.system) for c in conversations], self.top_k)

    def _read(
        self, conversations: Sequence[Conversation], answer: int, most: int
    ) -> list[tuple[Conversation, tuple[Passage, ...]]]:
        if not most:
            return [(with_system(c, self.system), ()) for c in conversations]
        hits = self.retriever.search([asked(c) for c in conversations], self.top_k)
        return [
            put_before(c, [h.passage for h in found[:most]], self.system, self._fits, answer)
            for c, found in zip(conversations, hits, strict=True)
        ]
