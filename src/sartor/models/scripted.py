"""A language model that follows a script: for tests and examples, where no weights are wanted.

Instant and deterministic; temperature and seed change nothing. A token is a word with the white
space before it, so that token limits and streams behave as a real model's do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sartor.data.records import Conversation, Passage
from sartor.models.language_model import Completion, Sampling

TOKEN = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True)
class ScriptedModel:
    """Answers with whatever `answer` makes of the conversation; what it raises is passed on."""

    answer: Callable[[Conversation], str]
    passages: tuple[Passage, ...] = ()
    """What every answer says it was given to read."""
    seconds: float = 0.0
    """What every answer says it took."""

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        """One scripted completion for each conversation, in order."""
        return [self._complete(conversation, sampling) for conversation in conversations]

    def stream(self, conversation: Conversation, sampling: Sampling) -> Iterator[str | Completion]:
        """The answer token by token, then the whole completion."""
        completion = self._complete(conversation, sampling)
        yield from TOKEN.findall(completion.text)
        yield completion

    def _complete(self, conversation: Conversation, sampling: Sampling) -> Completion:
        text = self.answer(conversation)
        found = [text.index(stop) for stop in sampling.stop if stop and stop in text]
        tokens = TOKEN.findall(text[: min(found)] if found else text)
        finish: Literal["stop", "length"] = (
            "length" if len(tokens) > sampling.max_new_tokens else "stop"
        )
        tokens = tokens[: sampling.max_new_tokens]
        return Completion(
            text="".join(tokens),
            finish=finish,
            prompt_tokens=sum(len(TOKEN.findall(message.content)) for message in conversation),
            new_tokens=len(tokens),
            seconds=self.seconds,
            passages=self.passages,
        )
