"""Bytes of the tensors that are there at once, counted operation by operation.

On a CPU nobody keeps that count, and the process's memory also holds what libraries set aside; on a
GPU torch keeps it itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sartor.training import threads


class Allocated(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts inside a `with` block: what is made there, and what was there before once it is used.

    Forward and backward run ten times slower inside for small tensors.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        """Bytes."""
        self._known: dict[int, int] = {}

    def __enter__(self) -> Allocated:
        self._told = threads.in_turn.set(self._in_turn)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *failure: Any) -> None:
        super().__exit__(*failure)  # type: ignore[no-untyped-call]
        threads.in_turn.reset(self._told)

    def _in_turn(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """Works that go on side by side elsewhere: what each takes at most is there at once."""
        before, most, taken, made = self.now, self.peak, 0, []
        for work in works:
            start = self.peak = self.now
            made.append(work())
            taken += self.peak - start
        self.peak = max(most, before + taken)
        return made

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for storage in _storages((args, kwargs)):
            self._count(storage)  # such as weights that lie in a file
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            self._count(storage)
        return result

    def _count(self, storage: Any) -> None:
        key = storage._cdata
        if storage.nbytes() and key not in self._known:
            self._known[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.now -= self._known.pop(key, 0)


def _storages(values: Any) -> list[Any]:
    return [v.untyped_storage() for v in tree_leaves(values) if isinstance(v, torch.Tensor)]
