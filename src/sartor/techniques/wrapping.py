"""What techniques that wrap another share: keeping what is inside, its context, and its prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sartor.data.files import digest, read_json
from sartor.data.records import Conversation, Message, Passage, TrainingData
from sartor.errors import PromptTooLongError
from sartor.models import chat, named
from sartor.models.language_model import Completion, LanguageModel, ModelCard
from sartor.retrieval.hybrid import searchable
from sartor.settings import settings_of
from sartor.techniques.stages import done_once
from sartor.techniques.technique import RECORD, Customization, Technique

Fit = Callable[[ModelCard, TrainingData, Path], Customization]
INNER = "inner"
ANSWER_ROOM = 128
"""Tokens left for the answer when prompts for training are made."""
ANSWER_SHARE = 2
"""An answer is left at most this part of the context: asking for more costs no passages."""
FIRST, QUESTION = "[1] ", "\n\nQuestion: "
"""How a request with passages begins, and what stands before what was asked."""


def save_inner(
    technique: Technique, base: ModelCard, data: TrainingData, directory: Path, *, by: Any = None,
    fit: Fit | None = None,
) -> Customization:  # fmt: skip
    """Fit the technique inside, in a folder of its own, unless that was done on the same data.

    `fit` does it in another way than the technique's own; `by` is what that follows from.
    """
    own = [by] if by is not None else []
    key = digest(base.revision, settings_of(technique), data, *own)
    folder = directory / INNER
    return done_once(folder, key, lambda: (fit or technique.fit)(base, data, folder))


def around(
    technique: Technique, inner: Customization, directory: Path, *,
    made_of: Any, seconds: float, note: str,
) -> Customization:  # fmt: skip
    """The record of a technique around what is inside; `made_of` and `seconds` are its own."""
    return Customization(
        technique=technique.name,
        base=inner.base,
        directory=str(directory),
        digest=digest(settings_of(technique), made_of, inner.digest),
        trainable_parameters=inner.trainable_parameters,
        seconds=seconds + inner.seconds,
        peak_memory=inner.peak_memory,
        notes=(note, *inner.notes),
    )


def load_inner(technique: Technique, outer: Customization) -> LanguageModel:
    """The model inside, wherever its folder and its base have been moved to since."""
    folder = Path(outer.directory) / INNER
    inner = read_json(folder / RECORD, Customization)
    return technique.load(replace(inner, base=outer.base, directory=str(folder)))


def innermost(wrapped: Any) -> Any:
    """What a stack of techniques, or of models, has at its core."""
    while hasattr(wrapped, "inner"):
        wrapped = wrapped.inner
    return wrapped


class Unloaded:
    """How many tokens prompts have for what a technique will make of a base, before it is made."""

    def __init__(self, card: ModelCard, technique: Any) -> None:
        self.card = card
        self.technique = technique

    @cached_property
    def _tokenizer(self) -> Any:
        return named.tokenizer_of(self.card)

    def prompt_tokens(self, conversation: Conversation) -> int:
        virtual = int(getattr(innermost(self.technique), "virtual_tokens", 0))
        return len(chat.encode(self._tokenizer, conversation)) + virtual


class Fits:
    """Whether a prompt leaves room for an answer in the context of the model inside."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def context(self) -> int | None:
        """Tokens; None for models that do not say (remote ones)."""
        card = getattr(innermost(self.model), "card", None)
        return card.context if card else None

    def __call__(self, conversation: Conversation, answer: int) -> bool:
        context = self.context
        if context is None:
            return True
        room = min(answer, context // ANSWER_SHARE)
        return int(self.model.prompt_tokens(conversation)) + room <= context

    def most(self, conversations: Sequence[Conversation], most: int) -> int:
        """How many pieces to try: none before a request that leaves no room by itself, since a
        stranger may send a server one that takes long to search with. PromptTooLongError where it
        is one of several."""
        if all(self(conversation, 1) for conversation in conversations):
            return most
        if len(conversations) > 1:
            raise PromptTooLongError(
                f"one of {len(conversations)} requests leaves no room for an answer. Ask it alone."
            )
        return 0


def with_fewer(
    ask: Callable[[Sequence[Conversation], int], list[Completion]],
    conversations: Sequence[Conversation],
    most: int,
) -> list[Completion]:
    """What `ask` answers with at most so many pieces put before a request; with fewer where the
    model finds it too long all the same: of a remote one, tokens are only estimated.

    Several requests are not told apart: PromptTooLongError, as where even no piece leaves room.
    """
    try:
        return ask(conversations, most)
    except PromptTooLongError:
        if len(conversations) > 1 or most == 0:
            raise
        return with_fewer(ask, conversations, most - 1)


def stream_with_fewer(
    stream: Callable[[int], Iterator[str | Completion]], most: int
) -> Iterator[str | Completion]:
    """As `with_fewer`, of one request: a model finds it too long before the first piece."""
    for count in range(most, -1, -1):
        try:
            yield from stream(count)
        except PromptTooLongError:
            if not count:
                raise
        else:
            return


def asked(conversation: Conversation) -> str:
    """The last request, without passages put before it; empty where there is none."""
    last = next((m.content for m in reversed(conversation) if m.role == "user"), "")
    return last.rpartition(QUESTION)[2] if last.startswith(FIRST) else last


def with_request(conversation: Conversation, request: str) -> Conversation:
    """The conversation with its last request replaced; as it is where there is none."""
    last = max((i for i, message in enumerate(conversation) if message.role == "user"), default=-1)
    if last < 0:
        return conversation
    return (*conversation[:last], Message("user", request), *conversation[last + 1 :])


def with_passages(conversation: Conversation, passages: Sequence[Passage]) -> Conversation:
    """The conversation with numbered passages before its last request."""
    numbered = "\n\n".join(f"[{i}] {searchable(p)}" for i, p in enumerate(passages, 1))
    last = next((m.content for m in reversed(conversation) if m.role == "user"), "")
    return with_request(conversation, f"{numbered}{QUESTION}{last}")
