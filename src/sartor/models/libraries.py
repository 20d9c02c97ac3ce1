"""The libraries that models run in: whether they are there, and how they are to behave."""

from __future__ import annotations

import os

from sartor.errors import MissingExtraError
from sartor.models.memory import keep_large_apart

CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Environment variables that say how many shapes oneDNN, and torch above it, keep."""


def require_transformers() -> None:
    """MissingExtraError unless models can be run in this process; makes transformers quiet."""
    _settle_libraries()
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError("a local base model", str(error.name), "local") from error
    del torch
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _settle_libraries() -> None:
    """What torch and its libraries read from the environment once, before it loads.

    Threads of libgomp look out for work for some microseconds, then sleep: its own default slows a
    model tenfold beside another busy process; sleeping at once, by half. oneDNN keeps what it
    prepared for so many shapes of product, each of some hundred kilobytes: its own default of 1,024
    doubles the memory of training, and finds no more of them again than this. Huge pages
    are torch's own offer: large tensors lie outside of the heap, where each is new to the system.
    """
    keep_large_apart()
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for cache in CACHES:
        os.environ.setdefault(cache, "64")


def reason(error: Exception) -> str:
    """The first line of a library's error, and the next, or the points of a list, where that only
    announces them."""
    first, *rest = (line.strip() for line in str(error).strip().split("\n"))
    if isinstance(error, KeyError) and " " not in first:
        return f"there is no {first}"
    if first.endswith(":") and rest:
        points = [line for line in rest if line.startswith("(")]
        return " ".join([first, *(points or rest[:1])])
    return first or type(error).__name__
