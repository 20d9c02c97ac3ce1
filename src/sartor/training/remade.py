"""Values that the backward pass makes again from what is kept anyway, instead of keeping them.

A layer's norm is kept by every projection that reads it, and so is the product of a gated
feed-forward: a third of what training holds. Both are a few multiplications away from tensors that
their own gradients need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

NOTE = "_sartor_remade"
_off: ContextVar[bool] = ContextVar("off", default=False)


@contextmanager
def keeping_nothing() -> Iterator[None]:
    """While a block runs that will be run again as a whole: a note would keep what it drops."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def is_off() -> bool:
    """Whether nothing may be kept for making values again."""
    return _off.get()


class Remade:
    """How a value came about; several readers in turn have it made once."""

    def __init__(self, make: Callable[..., torch.Tensor], *kept: torch.Tensor) -> None:
        self._make = make
        self._kept = tuple(tensor.detach() for tensor in kept)
        self._readers = 0
        self._value: torch.Tensor | None = None

    def read_by_one_more(self) -> Remade:
        self._readers += 1
        return self

    def ahead(self) -> torch.Tensor:
        """The value; kept for the readers to come."""
        if self._value is None:
            self._value = self._make(*self._kept)
        return self._value

    def value(self) -> torch.Tensor:
        """The value for one reader; dropped after the last."""
        value = self.ahead()
        self._readers -= 1
        if self._readers <= 0:
            self._value = None
        return value


def note(value: torch.Tensor, make: Callable[..., torch.Tensor], *kept: torch.Tensor) -> None:
    """Note on the value how it is made from `kept`."""
    if is_off():
        return
    setattr(value, NOTE, Remade(make, *kept))


def noted(value: torch.Tensor) -> Remade | None:
    """How the value is made again; None where it must be kept."""
    found: Remade | None = getattr(value, NOTE, None)
    return found.read_by_one_more() if found is not None else None
