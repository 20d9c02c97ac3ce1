"""Few-shot prompting: answered training examples before the request. Nothing is trained.

By default those most like it: Liu et al. 2022, arXiv:2101.06804.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from sartor.data.files import read_rows, write_rows
from sartor.data.records import Conversation, Example, Message, TrainingData
from sartor.errors import SettingError, TrainingError
from sartor.models.language_model import Completion, LanguageModel, ModelCard, Sampling
from sartor.settings import STRICT
from sartor.techniques.technique import Customization, Technique
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
    with_request,
)
from sartor.techniques.zero_shot import ZeroShot


@dataclass(frozen=True, config=STRICT)
class FewShot:
    """Answered training examples before the request, as earlier turns of the conversation."""

    name: ClassVar[str] = "few-shot"
    reads_documents: ClassVar[bool] = False
    inner: Any = ZeroShot()
    """The technique that answers."""
    examples: int = 4
    """How many; each makes every request longer and dearer."""
    selection: Literal["similar", "fixed"] = "similar"
    """`similar`: the training examples most like the request; `fixed`: the same for all, which
    costs less where the engine caches shared beginnings."""
    max_characters: int = 600
    """Training examples longer than this (request and answer, without passages) are not shown."""

    def __post_init__(self) -> None:
        if self.examples < 1:
            raise SettingError(
                f"few-shot: examples is {self.examples}; it must be 1 or more (2 to 8 is usual). "
                "For none, use zero-shot."
            )

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Keep the examples that may be shown; fit what is inside on prompts that show them."""
        began = time.perf_counter()
        shown = self._pool(data.train)
        write_rows(directory / "examples.jsonl", shown)
        trained = not isinstance(innermost(self.inner), ZeroShot)
        read = self._shown(shown, data, base) if trained else data
        own = time.perf_counter() - began
        inner = save_inner(self.inner, base, read, directory)
        return around(
            self,
            inner,
            directory,
            made_of=shown,
            seconds=own,
            note=f"{len(shown)} examples to choose from",
        )

    def load(self, customization: Customization) -> LanguageModel:
        """The technique inside, behind the shown examples."""
        pool = read_rows(Path(customization.directory) / "examples.jsonl", Example)
        shots = Shots(pool, self.examples, self.selection)
        return Shown(load_inner(self.inner, customization), shots)

    def _pool(self, train: Sequence[Example]) -> list[Example]:
        bare = [replace(e, input=with_request(e.input, asked(e.input))) for e in train]
        short = [e for e in bare if _characters(e) <= self.max_characters]
        if not short:
            raise TrainingError(
                f"few-shot: none of {len(train)} training examples is shorter than "
                f"{self.max_characters} characters. Raise max_characters or leave few-shot out."
            )
        if self.selection == "similar":
            return short
        return varied(short, self.examples + 1)  # one more, for an example that is one of them

    def _shown(self, pool: Sequence[Example], data: TrainingData, base: ModelCard) -> TrainingData:
        """The data with examples before each request, as many as will be shown in service."""
        model = Shown(Unloaded(base, self.inner), Shots(pool, self.examples, self.selection))

        def shown(example: Example) -> Example:
            return replace(example, input=model.shown(example.input, ANSWER_ROOM, without=example))

        return data.changed(lambda part: tuple(map(shown, part)))


def _characters(example: Example) -> int:
    return sum(len(m.content) for m in example.input) + len(example.targets[0])


def varied(examples: Sequence[Example], count: int) -> list[Example]:
    """The first of each tag in turn, so that a few examples show many kinds of request."""
    by_tag: dict[tuple[str, ...], list[Example]] = {}
    for example in examples:
        by_tag.setdefault(example.tags, []).append(example)
    turns = [group[i] for i in range(count) for group in by_tag.values() if i < len(group)]
    return turns[:count]


class Shots:
    """Chooses which examples a request is shown."""

    def __init__(self, pool: Sequence[Example], count: int, selection: str) -> None:
        self.pool = pool
        self.count = count
        self.selection = selection

    @cached_property
    def _vectors(self) -> Any:
        from sartor.models.encoder import StaticEncoder

        return StaticEncoder().encode([asked(example.input) for example in self.pool])

    def before(
        self, conversation: Conversation, count: int, without: Example | None = None
    ) -> Conversation:
        """The conversation with examples put before its first user turn, the likest last.

        Neither the example `without` nor others of its group are shown.
        """
        chosen = self._chosen(asked(conversation), count, without)
        head = [m for m in conversation if m.role == "system"]
        rest = [m for m in conversation if m.role != "system"]
        turns = []
        for example in chosen:
            turns += [m for m in example.input if m.role != "system"]
            turns.append(Message("assistant", example.targets[0]))
        return (*head, *turns, *rest)

    def _chosen(self, request: str, count: int, without: Example | None) -> list[Example]:
        others = [i for i, example in enumerate(self.pool) if not _kin(example, without)]
        if self.selection == "fixed":
            return [self.pool[i] for i in others[:count]]
        import numpy as np

        from sartor.models.encoder import StaticEncoder

        likeness = self._vectors[others] @ StaticEncoder().encode([request or " "])[0]
        order = np.argsort(-likeness, kind="stable")[:count]
        return [self.pool[others[i]] for i in reversed(order)]


def _kin(one: Example, other: Example | None) -> bool:
    """Whether one gives the other's answer away, as none will when it is served."""
    if other is None:
        return False
    return one.id == other.id or bool(one.group and one.group == other.group)


class Shown:
    """A model that sees answered examples before every request; fewer where they would not fit."""

    def __init__(self, inner: Any, shots: Shots) -> None:
        self.inner = inner
        self.shots = shots
        self._fits = Fits(inner)

    def prompt_tokens(self, conversation: Conversation) -> int:
        """Without examples: they take what room is left."""
        return int(self.inner.prompt_tokens(conversation))

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        def answers(some: Sequence[Conversation], most: int) -> list[Completion]:
            shown = [self.shown(c, sampling.max_new_tokens, most=most) for c in some]
            completions: list[Completion] = self.inner.generate(shown, sampling)
            return completions

        most = self._fits.most(conversations, self.shots.count)
        return with_fewer(answers, conversations, most)

    def stream(self, conversation: Conversation, sampling: Sampling) -> Iterator[str | Completion]:
        def pieces(most: int) -> Iterator[str | Completion]:
            shown = self.shown(conversation, sampling.max_new_tokens, most=most)
            yield from self.inner.stream(shown, sampling)

        return stream_with_fewer(pieces, self._fits.most([conversation], self.shots.count))

    def shown(
        self,
        conversation: Conversation,
        answer: int,
        without: Example | None = None,
        most: int | None = None,
    ) -> Conversation:
        """The conversation with as many examples as leave room for an answer of so many tokens,
        `most` of them at most."""
        for count in range(self.shots.count if most is None else most, 0, -1):
            shown = self.shots.before(conversation, count, without)
            if self._fits(shown, answer):
                return shown
        return conversation


_: type[Technique] = ZeroShot
