"""What all tests need."""

from __future__ import annotations

import gc
import os

import pytest

# Before torch is imported: threads that spin for work slow each other where tests run side by side.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
if "PYTEST_XDIST_WORKER" in os.environ:  # a core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def what_lives_is_not_searched_for_garbage() -> None:
    """The million objects of the libraries take a third of a second of every full collection, which
    sartor asks for before it loads a model."""
    gc.collect()
    gc.freeze()
