"""The records that cross between rooms: what was collected, and how it was divided.

All are frozen. `id`s are unique within a project; digests are hexadecimal SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A text of the user's, with where it came from."""

    id: str
    text: str
    source: str
    """Path relative to the project (or URL); `path#id` for one record of a catalogue file."""
    title: str = ""
    license: str = ""
    digest: str = ""
    collected_at: str = ""
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: characters `start` to `end` of `Document.text`."""

    document_id: str
    start: int
    end: int
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A request, and answers that count as right; at least one, except in `disliked`."""

    id: str
    input: Conversation
    targets: tuple[str, ...]
    """The first is trained on; any of them counts as right."""
    group: str = ""
    """Examples of one group stay on one side of the split."""
    source: str = ""
    """`path:line` it was read from."""
    evidence: tuple[str, ...] = ()
    """Ids of the documents that hold the answer, where known."""
    answerable: bool = True
    tags: tuple[str, ...] = ()
    """Names of the slices it belongs to."""
    rejected: tuple[str, ...] = ()
    """Answers that were judged wrong, for training on preferences."""
    choices: tuple[str, ...] = ()
    """The options of a multiple choice, where the row lists them; at most 26."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All that a technique may see: never the test part."""

    documents: tuple[Document, ...]
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    disliked: tuple[Example, ...] = ()
    """Requests with rejected answers and no right one (`targets` is empty): nothing can be tested
    on them, and only preferences are trained on them."""

    def changed(self, change: Callable[[tuple[Example, ...]], tuple[Example, ...]]) -> TrainingData:
        """With the examples of every part so changed."""
        return replace(
            self,
            train=change(self.train),
            validation=change(self.validation),
            disliked=change(self.disliked),
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Training data and the held-out test part."""

    training: TrainingData
    test: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something left out while preparing, and why."""

    id: str
    kind: Literal["document", "example"]
    reason: str
    source: str = ""
