"""Parts of a step that go through a network side by side, each in a thread of its own, on a CPU.

What stands between the products of a model is short, and threads that share every product wait for
one another all the time: two of them are 1.3 times as fast as one, or slower. Two that have
examples of their own are up to 1.8 times as fast. Which examples a part has follows from the
examples alone, and gradients are added up in the order of the parts: a step comes out the same each
time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from contextvars import copy_context
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from sartor.models.generation import common_prefix
from sartor.training.dropping import drops
from sartor.training.order import alike
from sartor.training.pack_size import side_by_side
from sartor.training.sharing import WORTH_SHARING, Sequenced

if TYPE_CHECKING:
    import torch

    from sartor.training.trainable import Trainable

T = TypeVar("T")
Item = TypeVar("Item", bound=Sequenced)
SMALL = 32 << 20
"""Bytes of trained weights of the base: each part holds gradients of its own."""
SHARED_PRODUCTS = 0.3
"""So many threads that share every product are as fast as one, times their number to this power:
parts must be worth more."""


def lanes(trainable: Trainable) -> int:
    """How many threads there are for parts of a step: 1 where the network can only run once at a
    time, or where gradients take much memory."""
    import torch

    from sartor.models.rotary import changes_with_length
    from sartor.training.answers_only import is_narrowed
    from sartor.training.packing import keeps_lower

    network, virtual = trainable.network, trainable.virtual
    if network.device.type != "cpu" or not is_narrowed(network) or keeps_lower(network):
        return 1
    if changes_with_length(network.config.get_text_config(decoder=True)):  # of its own accord
        return 1
    held = sum(p.numel() * p.element_size() for p in trainable.parameters.values())
    if held > SMALL and not trainable.frozen:
        return 1
    before = getattr(virtual, "__self__", virtual)
    modules = before.modules() if isinstance(before, torch.nn.Module) else ()
    if drops([*network.modules(), *modules]):  # by chance, which would be any thread's
        return 1
    return int(torch.get_num_threads())


def parts(examples: Sequence[Item], threads: int, tokens: int) -> list[list[Item]]:
    """The examples, divided among lanes; all in one where that is no slower. At most so many tokens
    go through at once."""
    count = side_by_side(threads, tokens, len(examples))
    if count == 1:
        return [list(examples)]
    units = _units(examples, count)
    found: list[list[Item]] = [[] for _ in range(count)]
    sizes = [0] * count
    for size, unit in sorted(units, key=lambda one: -one[0]):
        lane = sizes.index(min(sizes))
        found[lane] += unit
        sizes[lane] += size
    shared = _size(sorted(examples, key=lambda e: e.tokens)) / count**SHARED_PRODUCTS
    if max(_size(sorted(part, key=lambda e: e.tokens)) for part in found) >= shared:
        return [list(examples)]
    return [sorted(part, key=lambda e: len(e.tokens)) for part in found]


def _units(examples: Sequence[Item], count: int) -> list[tuple[int, list[Item]]]:
    """Examples that begin alike, with what they take together; in halves where that is more than
    one of so many parts."""
    open_ = [[examples[place] for place in group] for group in alike(examples)]
    most = sum(len(e.tokens) for e in examples) / count
    units = []
    while open_:
        unit = open_.pop()
        if (size := _size(unit)) > most and len(unit) > 1:
            half = len(unit) // 2
            open_ += [unit[:half], unit[half:]]
        else:
            units.append((size, unit))
    return units


def _size(neighbours: Sequence[Item]) -> int:
    """Tokens, of which what an example begins with like the one before it counts once."""
    size = len(neighbours[0].tokens)
    for before, example in pairwise(neighbours):
        same = common_prefix([before.tokens, example.tokens])
        size += len(example.tokens) - (same if same >= WORTH_SHARING else 0)
    return size


def run(work: Callable[[int, Callable[[], bool]], T], count: int) -> list[T]:
    """What `work` gives for each of so many lanes; it is told its number, and asks now and then
    whether to stop, because another failed or the user did. Raises what the first of them raised,
    when all have ended."""
    import torch
    from torch.utils import _python_dispatch

    counting = _python_dispatch._get_current_dispatch_mode_stack()  # tensors, in estimates
    stop = threading.Event()

    def one(number: int) -> T:
        with ExitStack() as modes:
            for mode in counting:
                modes.enter_context(mode)
            try:
                return work(number, stop.is_set)
            except BaseException:
                stop.set()
                raise

    pool = _pool(count, max(1, torch.get_num_threads() // count))
    futures = [pool.submit(copy_context().run, one, number) for number in range(count)]
    try:
        return [future.result() for future in futures]
    finally:
        stop.set()
        wait(futures)


@cache
def _pool(count: int, threads: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process, each of which has products worked on by so many."""
    import torch

    before = torch.get_num_threads()
    met = threading.Barrier(count)

    def begin() -> None:
        torch.set_num_threads(threads)  # its own, and that of all that have not asked for theirs
        torch.get_num_threads()
        met.wait()

    pool = ThreadPoolExecutor(count, "sartor-lane", initializer=begin)
    wait([pool.submit(int) for _ in range(count)])
    torch.set_num_threads(before)
    return pool


class Gradients:
    """Of what is trained, by one lane."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._parameters = parameters
        self._sums: list[Any] = [None] * len(parameters)

    def add(self, loss: torch.Tensor) -> None:
        """Add the loss's."""
        import torch

        made = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        for place, (parameter, one) in enumerate(zip(self._parameters, made, strict=True)):
            if one is None:
                continue
            if self._sums[place] is None:  # others may hold what was made, in another order
                self._sums[place] = torch.empty_like(parameter, requires_grad=False).copy_(one)
            else:
                self._sums[place].add_(one)

    def give(self) -> None:
        """Add them to those that the parameters have."""
        for parameter, one in zip(self._parameters, self._sums, strict=True):
            if one is not None:
                parameter.grad = one if parameter.grad is None else parameter.grad.add_(one)
