"""A network that computes in float32 while it is tried, one layer's weights at a time.

Whether a network gives the same in two ways cannot be told in bfloat16: a deep one rounds
differently in each. SmolLM2-135M's logits of its own first tokens differ by a fifth of their size
between two attentions that are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sartor.models.told import UNFIT

if TYPE_CHECKING:
    import torch

HALVES = ("torch.bfloat16", "torch.float16")
COMPUTES = "_sartor_computes_in"
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
"""Mean difference of the logits, in parts of their mean size, that rounding alone explains."""

Found = TypeVar("Found")


def tried(network: Any, attempt: Callable[[], Found]) -> Found:
    """What the attempt finds in float32; in the network's own numbers where it takes no others."""
    try:
        with in_float32(network):
            return attempt()
    except UNFIT:
        return attempt()


def runs_itself(network: Any, run: Callable[[], object]) -> bool:
    """Whether what was tried in float32 runs in the network's own numbers too, whatever it gives;
    of a network in float32 that is known."""
    import torch

    if str(network.dtype) not in HALVES:
        return True
    try:
        with torch.no_grad():
            run()
    except UNFIT:
        return False
    return True


def as_near(
    found: torch.Tensor, expected: torch.Tensor, computed_in: torch.dtype, most: float = 1.0
) -> bool:
    """Whether they differ by no more than rounding of that kind of number, and than `most`."""
    tolerance = min(most, TOLERANCE.get(str(computed_in).removeprefix("torch."), 1e-4))
    difference = (found.float() - expected.float()).abs().mean()
    return bool(difference <= tolerance * expected.float().abs().mean())


def computes_in(network: Any) -> torch.dtype:
    """The kind of number that the network computes in now."""
    dtype: torch.dtype = getattr(network, COMPUTES, None) or network.dtype
    return dtype


@contextmanager
def in_float32(network: Any) -> Iterator[None]:
    """While it runs, each module has its own weights in float32 for as long as it works.

    Weights of 4 or 8 bits stay as they are, and so does a network that has them, or whose weights
    are divided among processes.
    """
    import torch

    hooks = []
    if str(network.dtype) in HALVES and _is_whole(network):
        setattr(network, COMPUTES, torch.float32)
        hooks = [hook for module in network.modules() for hook in _hooked(module)]
    try:
        yield
    finally:
        setattr(network, COMPUTES, None)
        for hook in hooks:
            hook.remove()


def _is_whole(network: Any) -> bool:
    import torch

    parameters = list(network.parameters())
    return all(p.is_floating_point() and type(p) is torch.nn.Parameter for p in parameters)


def _is_half(tensor: torch.Tensor) -> bool:
    return str(tensor.dtype) in HALVES


def _hooked(module: Any) -> list[Any]:
    """Hooks that put float32 in place of the module's own tensors, and these back after it."""
    own = [
        (tensors, {name: t for name, t in tensors.items() if t is not None and _is_half(t)})
        for tensors in (module._parameters, module._buffers)
    ]
    if not any(halves for _, halves in own):
        return []

    def before(*_: Any) -> None:
        for tensors, halves in own:
            tensors.update({name: tensor.detach().float() for name, tensor in halves.items()})

    def after(*_: Any) -> None:
        for tensors, halves in own:
            tensors.update(halves)

    return [
        module.register_forward_pre_hook(before),
        module.register_forward_hook(after, always_call=True),
    ]
