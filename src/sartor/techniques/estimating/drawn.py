"""Requests as a technique will put them, with what it would search for drawn instead.

For counting tokens before anything is spent (workload.py). Techniques are known by their settings:
`top_k` passages of `passage_characters`, so many worked `examples` of at most `max_characters`, a
`system` prompt, `virtual_tokens`; and by what is `inner`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sartor.data.passages import cut
from sartor.data.records import Conversation, Example, Message, TrainingData
from sartor.models import chat
from sartor.models.language_model import ModelCard
from sartor.techniques.wrapping import ANSWER_ROOM, ANSWER_SHARE, with_passages
from sartor.techniques.zero_shot import with_system

DOCUMENTS = 100
"""Documents that are cut into passages; the rest are taken to be like them."""


def layers(technique: Any) -> Iterator[Any]:
    """The technique, what is inside it, what is inside that."""
    while technique is not None:
        yield technique
        technique = getattr(technique, "inner", None)


class Drawn:
    """Puts examples as `technique` will; the same way each time."""

    def __init__(self, technique: Any, card: ModelCard, data: TrainingData, tokenizer: Any) -> None:
        self.technique = technique
        self.card = card
        self.data = data
        self.tokenizer = tokenizer
        self.virtual = sum(getattr(layer, "virtual_tokens", 0) for layer in layers(technique))
        self._documents = {document.id: document for document in data.documents}

    def prompt(self, example: Example) -> list[int]:
        """The tokens of its request as the model will read it, without virtual ones."""
        return chat.encode(self.tokenizer, self.put(example).input)

    def size(self, example: Example) -> int:
        """How many tokens are trained on, without virtual ones: its request and its answer."""
        answer = chat.encode_answer(self.tokenizer, example.targets[0])
        return min(len(self.prompt(example)) + len(answer), self.card.context)

    def put(self, example: Example) -> Example:
        for layer in layers(self.technique):
            system = getattr(layer, "system", "")
            told = replace(example, input=with_system(example.input, system))
            if isinstance(getattr(layer, "top_k", None), int):
                passages = self._passages(told, layer)
                example = self._most(passages, told, lambda e, p: with_passages(e.input, p))
            elif isinstance(getattr(layer, "examples", None), int):
                example = self._most(self._shots(example, layer), example, _with_shots)
            else:
                example = told
        return example

    def count_passages(self) -> int:
        """About how many passages will be indexed."""
        total = 0.0
        for layer in layers(self.technique):
            if hasattr(layer, "top_k") and self.data.documents:
                few = self._few_documents()
                cuts = sum(len(cut(document, _size(layer))) for document in few)
                total += cuts * len(self.data.documents) / len(few)
        return round(total)

    def _few_documents(self) -> list[Any]:
        documents = self.data.documents
        return random.Random(0).sample(documents, min(DOCUMENTS, len(documents)))

    def _most(
        self, found: Sequence[Any], bare: Example, put: Callable[[Example, Any], Conversation]
    ) -> Example:
        """With as many of `found` as leave room for an answer."""
        room = self.card.context - min(ANSWER_ROOM, self.card.context // ANSWER_SHARE)
        for count in range(len(found), 0, -1):
            conversation = put(bare, found[:count])
            if len(chat.encode(self.tokenizer, conversation)) + self.virtual <= room:
                return replace(bare, input=conversation)
        return bare

    def _passages(self, example: Example, layer: Any) -> list[Any]:
        """One that holds the answer, where it is known which documents do; the others are any."""
        right = [self._documents[id] for id in example.evidence if id in self._documents]
        drawn = random.Random(example.id)
        several = [drawn.choice(self.data.documents) for _ in range(layer.top_k) if self._documents]
        pieces = [cut(document, _size(layer)) for document in [*right[:1], *several]]
        return [drawn.choice(piece) for piece in pieces if piece][: layer.top_k]

    def _shots(self, example: Example, layer: Any) -> list[Example]:
        """Worked examples of its own kind, by tag, where there are any."""
        longest = getattr(layer, "max_characters", math.inf)
        pool = [e for e in self.data.train if _characters(e) <= longest]
        alike = [e for e in pool if e.tags == example.tags] or pool
        return random.Random(example.id).sample(alike, min(layer.examples, len(alike)))


def _size(layer: Any) -> int:
    return int(getattr(layer, "passage_characters", 600))


def _characters(example: Example) -> int:
    return sum(len(message.content) for message in example.input) + len(example.targets[0])


def _with_shots(example: Example, shots: Sequence[Example]) -> Conversation:
    turns: list[Message] = []
    for shown in shots:
        turns += [m for m in shown.input if m.role != "system"]
        turns.append(Message("assistant", shown.targets[0]))
    head = [m for m in example.input if m.role == "system"]
    return (*head, *turns, *(m for m in example.input if m.role != "system"))
