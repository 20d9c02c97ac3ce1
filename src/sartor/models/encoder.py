"""Texts to vectors, for dense retrieval and for finding like examples."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sartor.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Encoder(Protocol):
    """Maps texts to unit vectors; like texts lie close."""

    name: str
    dimensions: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dimensions), rows of length 1 (or 0 for a text without known words)."""
        ...


class StaticEncoder:
    """wordllama: averaged static token embeddings. Its weights come with the package."""

    name = "wordllama"
    dimensions = 256

    @staticmethod
    def revision() -> str:
        """The version of the package, which holds the weights; empty where it is missing."""
        try:
            return version("wordllama")
        except PackageNotFoundError:
            return ""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        vectors = np.asarray(_wordllama().embed(list(texts), norm=False), dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = np.nan_to_num(vectors / np.maximum(lengths, 1e-9))
        return unit


@cache
def _wordllama() -> Any:
    try:
        with _logging_left_alone():
            import wordllama
    except ModuleNotFoundError as error:
        raise MissingExtraError("dense retrieval", "wordllama", "retrieval") from error
    return wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )


@contextmanager
def _logging_left_alone() -> Iterator[None]:
    """wordllama sets up the whole program's logging when it is imported: every request to a remote
    model would be told."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
