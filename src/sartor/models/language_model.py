"""What every model is to the rest of sartor: something that answers conversations.

A bare base, a prompted one, RAG, P-tuned, LoRA, full, remote, and any stack of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from sartor.data.records import Conversation, Passage
from sartor.project import Remote


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A base model as a record: nothing is loaded."""

    name: str
    """What the user wrote: `thimble`, a path, a hub id, or the name of a remote model."""
    path: str
    """Folder or hub id that transformers loads from; of a remote model the folder where its answers
    are kept."""
    revision: str
    """Commit or content digest; of a remote model of all that its answers depend on."""
    architecture: str
    parameters: int
    """0 where nobody says: of remote models."""
    context: int
    """Tokens."""
    license: str = ""
    trust_remote_code: bool = False
    remote: Remote | None = None
    """How it is asked, of a model that does not run here."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate."""

    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int = 0
    stop: tuple[str, ...] = ()


Finish = Literal["stop", "length", "no_room", "content_filter", "unknown"]
"""Why an answer ended: the model ended it; it grew too long; the prompt left it no room at all; a
remote model's provider held it back; nobody says, of answers made elsewhere."""


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, what it cost, and what it was given to read."""

    text: str
    finish: Finish
    prompt_tokens: int
    new_tokens: int
    seconds: float
    """Wall seconds of the batch it was made in, divided by the batch's size."""
    passages: tuple[Passage, ...] = ()
    """Passages put before the model, best first; the answer's citations."""


class LanguageModel(Protocol):
    """Answers conversations. Greedy answers do not depend on what else is in the batch."""

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        """One completion for each conversation, in order."""
        ...


@runtime_checkable
class StreamingLanguageModel(Protocol):
    """A language model that can also hand out its answer piece by piece."""

    def stream(self, conversation: Conversation, sampling: Sampling) -> Iterator[str | Completion]:
        """Pieces of text, and last the whole `Completion`."""
        ...
