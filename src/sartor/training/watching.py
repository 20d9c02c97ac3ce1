"""Who looks on while something is trained, and may end it.

Set around a `fit`, however deep inside others the training is; a search prunes by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

Curve = Sequence[tuple[int, float, float]]
"""(step, training loss, validation loss) of all looks so far, those of earlier sittings too."""
Watch = Callable[[Curve, int], None]
"""Called with the curve, and with the tokens trained on."""
_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched_by(watch: Watch | None) -> Iterator[None]:
    """Call `watch` at each look at validation of a whole run; what it raises ends the training,
    whose state stays as it was at the look before. None: nobody looks on."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


def tell(curve: Curve, tokens: int) -> None:
    """Tell whoever looks on."""
    watch = _WATCH.get()
    if watch is not None:
        watch(tuple(curve), tokens)
