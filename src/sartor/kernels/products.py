"""Sums of matrix products: compiled where a processor multiplies bfloat16, else by torch.

See products.h for how; a row comes out the same whatever other rows there are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from threading import local
from typing import Any

import torch

from sartor.kernels import calls, compiled

Pair = tuple[torch.Tensor, torch.Tensor]
"""A left one (rows, inner) and a right one (inner, columns), or as many of both as a batch has."""
MOST = 4
"""Pairs in one sum."""
THIN = 64
"""Rows or columns of what is laid out anew before oneDNN multiplies it."""


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left @ right, matrices or batches of them."""
    made = left.new_empty(*left.shape[:-1], right.shape[-1])
    summed([(left, right)], made)
    return made


def summed(pairs: Sequence[Pair], into: torch.Tensor, *, add: bool = False) -> None:
    """The sum of the pairs' products, written `into` a tensor or added to it: one of their kind of
    number, or in float32."""
    if _are_laid(pairs, into) and fits(*(tensor for pair in pairs for tensor in pair)):
        _compiled(pairs, into, add)
        return
    for left, right in pairs:
        _by_torch(left, right, into, add)
        add = True


def fits(*tensors: torch.Tensor) -> bool:
    """Whether what is compiled multiplies these: in bfloat16, and with no other threads, which
    torch would have share a product."""
    return (
        tensors[0].dtype is torch.bfloat16
        and torch.get_num_threads() == 1
        and calls.fits(*tensors)
        and _is_there()
    )


def _by_torch(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor, add: bool) -> None:
    if right.dim() == 2 and min(right.shape) <= THIN:
        right = right.contiguous()  # oneDNN compiles a program for each layout
    if left.dtype != into.dtype:
        made = left @ right
        into.add_(made) if add else into.copy_(made)
    elif not add:
        torch.matmul(left, right, out=into)
    elif into.dim() == 3:
        into.baddbmm_(left, right)
    else:
        into.addmm_(left, right)


def _are_laid(pairs: Sequence[Pair], into: torch.Tensor) -> bool:
    """Whether all are matrices, or batches, of which rows or columns are next to one another, and
    their sizes agree: where they do not, torch says so."""
    shape, kind = into.shape, type(into)
    if len(pairs) > MOST or len(shape) > 3 or kind is not torch.Tensor or into.numel() == 0:
        return False
    if into.stride(-1) != 1 or into.dtype not in calls.KINDS:
        return False
    for left, right in pairs:
        inner = right.shape[-2]
        if left.shape != (*shape[:-1], inner) or right.shape != (*shape[:-2], inner, shape[-1]):
            return False
        if inner == 0 or 1 not in left.stride()[-2:] or 1 not in right.stride()[-2:]:
            return False
    return True


def _compiled(pairs: Sequence[Pair], into: torch.Tensor, add: bool) -> None:
    told: list[int] = []
    for left, right in pairs:
        for tensor in (left, right):
            told += (tensor.data_ptr(), *tensor.stride()[-2:], _next(tensor))
        told += (left.shape[-1], 0)
    matrices = numbers(*told)
    batch = into.shape[0] if into.dim() == 3 else 1
    what = numbers(
        ctypes.addressof(matrices), len(pairs), batch, *into.shape[-2:], into.data_ptr(),
        into.stride(-2), _next(into), into.dtype is torch.float32, add, has_tiles(),
    )  # fmt: skip
    space = room(library().products_room(what))
    library().products(what, space.data_ptr())


def numbers(*told: int) -> Any:
    """A struct of C, of whole numbers and addresses of 64 bits each."""
    return (ctypes.c_int64 * len(told))(*told)


def _next(tensor: torch.Tensor) -> int:
    return tensor.stride(0) if tensor.dim() == 3 else 0


_rooms = local()


def room(numbers: int) -> torch.Tensor:
    """Space for what is laid out, the calling thread's own."""
    kept: torch.Tensor | None = getattr(_rooms, "kept", None)
    if kept is None or len(kept) < numbers:
        kept = _rooms.kept = torch.empty(numbers, dtype=torch.bfloat16, device="cpu")
    return kept


@cache
def _is_there() -> bool:
    """A processor may lack what multiplies bfloat16."""
    return hasattr(compiled.library(), "products")


@cache
def has_tiles() -> bool:
    """Whether there are Intel's AMX, and the system lets this process use it."""
    return bool(library().has_tiles())


@cache
def library() -> Any:
    """Of which `fits` has been asked."""
    found: Any = compiled.library()
    found.products_room.restype = found.has_tiles.restype = ctypes.c_int64
    found.products_room.argtypes = [calls.POINTER]
    found.products.restype = None
    found.products.argtypes = [calls.POINTER] * 2
    return found
