"""The objective of continued pretraining: every token of the documents' text.

Documents are cut to pieces that fit, each ends with the token that ends a text, and some documents
are held out whole to watch the loss on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sartor.data.files import digest
from sartor.data.records import Document, TrainingData
from sartor.errors import TrainingError
from sartor.models import chat
from sartor.training.objective import Answers, Reading
from sartor.training.packing import Encoded

HELD = 10
"""Every so many-th document is held out."""
BEGINNING = 200
"""Characters in which a text may name its title itself."""
WATCHED = 1 << 14
"""Tokens of held-out documents that the loss is watched on, at most."""


@dataclass(frozen=True)
class Corpus(Answers):
    """The cross-entropy of text."""

    piece_tokens: int
    """At most so many tokens see one another."""

    def read(self, reading: Reading, data: TrainingData) -> tuple[list[Encoded], list[Encoded]]:
        """Pieces of documents, each document on one side; of a single document, its last piece."""
        order = sorted(data.documents, key=lambda document: digest(document.id))
        held = order[::HELD] if len(order) > 1 else []
        out = {document.id for document in held}
        train = self._pieces(reading, [d for d in data.documents if d.id not in out])
        watched = self._pieces(reading, held)
        if not watched and len(train) > 1:
            train, watched = train[:-1], train[-1:]
        if not train or not watched:
            raise TrainingError(
                f"continued-pretraining: {len(data.documents)} documents are too little text: "
                "some must be held out to see when to stop. Add documents, or leave it out."
            )
        return train, _at_most(watched, WATCHED)

    def _pieces(self, reading: Reading, documents: Sequence[Document]) -> list[Encoded]:
        length = min(self.piece_tokens, reading.context)
        made = []
        for document in documents:
            titled = document.title and document.title not in document.text[:BEGINNING]
            text = f"{document.title}\n\n{document.text}" if titled else document.text
            tokens = chat.encode_answer(reading.tokenizer, text)  # ends with the end of a text
            for start in range(0, len(tokens) - 1, length - 1):  # a piece begins where one ended
                piece = tuple(tokens[start : start + length])
                made.append(Encoded(f"{document.id}:{start}", piece, 1))
        return made


def _at_most(pieces: list[Encoded], tokens: int) -> list[Encoded]:
    kept, total = [], 0
    for piece in pieces:
        total += len(piece.tokens)
        kept.append(piece)
        if total >= tokens:
            break
    return kept
