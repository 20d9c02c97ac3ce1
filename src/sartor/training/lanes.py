"""Parts of a step that go through a network side by side, each in a thread of its own, on a CPU.

What stands between the products of a model is short, and threads that share every product wait for
one another all the time; those that have examples of their own do not. Which examples a part has
follows from the examples and the number of threads alone, and gradients are added up in the order
of the parts: a step comes out the same each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, starmap
from typing import TYPE_CHECKING, TypeVar

from sartor.training.dropping import drops
from sartor.training.order import alike
from sartor.training.pack_size import side_by_side
from sartor.training.sharing import Sequenced, added

if TYPE_CHECKING:
    from sartor.training.trainable import Trainable

Item = TypeVar("Item", bound=Sequenced)
SMALL = 32 << 20
"""Bytes of trained weights of the base: each part holds gradients of its own."""
CHANGING = ("ParamWrapper",)
"""Modules that change what they wrap while they run: PEFT's, where it adapts bare tensors."""
UNEVEN = 1.5
"""Equal shares that examples which begin alike may be: divided, each part has what they share."""
SHARED_PRODUCTS = 0.3
"""Threads that share every product are as fast as one, times their number to this power (1.2 to 1.3
of two: `benchmarks/training.py --threads 2`, version of 30 November 2026 before lanes): parts must
be worth more."""


def threads_for(trainable: Trainable) -> int:
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
    if any(type(module).__name__ in CHANGING for module in network.modules()):
        return 1
    if drops([*network.modules(), *modules]):  # by chance, which would be any thread's
        return 1
    return int(torch.get_num_threads())


def parts(examples: Sequence[Item], threads: int, tokens: int) -> list[list[Item]]:
    """The examples, divided among lanes; all in one where that is no slower. At most so many tokens
    go through at once."""
    count = side_by_side(threads, tokens, len(examples))
    if count == 1:
        return [list(examples)]
    found: list[list[Item]] = [[] for _ in range(count)]
    sizes = [0] * count
    for size, unit in sorted(_units(examples, count), key=lambda one: -one[0]):
        lane = sizes.index(min(sizes))
        found[lane] += unit
        sizes[lane] += size
    found = [part for part in found if part]
    longest = max(_size(sorted(part, key=lambda e: e.tokens)) for part in found)
    whole = _size(sorted(examples, key=lambda e: e.tokens))
    if longest >= whole / count**SHARED_PRODUCTS:
        return [list(examples)]
    return [sorted(part, key=lambda e: len(e.tokens)) for part in found]


def _units(examples: Sequence[Item], count: int) -> list[tuple[int, list[Item]]]:
    """Examples that begin alike, with what they take together; in halves where that is too much for
    one of so many parts."""
    open_ = [[examples[place] for place in group] for group in alike(examples)]
    most = UNEVEN * sum(map(_size, open_)) / count
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
    return len(neighbours[0].tokens) + sum(starmap(added, pairwise(neighbours)))
