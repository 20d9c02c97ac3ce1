"""Work for several threads at once, each of which has products worked on by threads of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from functools import cache, partial
from threading import Barrier, Event
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[], Any]

in_turn: ContextVar[Callable[[Sequence[Work]], list[Any]] | None] = ContextVar(
    "in_turn", default=None
)
"""Has works done one after another: who counts tensors (estimating/allocated.py), which can be done
in one thread alone."""


def run(work: Callable[[int, Event], T], count: int) -> list[T]:
    """What `work` gives for each number below `count`, each in a thread; it looks now and then
    whether it shall stop, because another failed or the user wants to, and may say so itself.

    Where some raise, raises what the lowest number did, when all have ended. A second Ctrl-C does
    not wait for them.
    """
    import torch

    stop = Event()

    def one(number: int) -> T:
        try:
            return work(number, stop)
        except BaseException:
            stop.set()
            raise

    if (by_one := in_turn.get()) is not None:
        return by_one([partial(one, number) for number in range(count)])
    try:
        pool = _pool(count, max(1, torch.get_num_threads() // count))
    except RuntimeError:  # the system has no more threads
        return [one(number) for number in range(count)]
    futures: list[Future[T]] = []
    try:
        futures.extend(pool.submit(copy_context().run, one, number) for number in range(count))
        return [future.result() for future in futures]
    finally:
        stop.set()
        wait(futures)


@cache
def _pool(count: int, threads: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process; RuntimeError where they cannot be started."""
    import torch

    before = torch.get_num_threads()
    met = Barrier(count)

    def begin() -> None:
        torch.set_num_threads(threads)  # its own, and that of all that have not asked for theirs
        torch.get_num_threads()
        met.wait()

    pool = ThreadPoolExecutor(count, "sartor", initializer=begin)
    try:
        for begun in [pool.submit(int) for _ in range(count)]:
            begun.result()
    except BaseException:
        met.abort()
        pool.shutdown(wait=False)
        raise
    finally:
        torch.set_num_threads(before)
    return pool


if hasattr(os, "register_at_fork"):  # a child has none of these threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
