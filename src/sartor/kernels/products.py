"""Sums of matrix products: compiled where a processor multiplies bfloat16, else by torch.

See products.h for how; what is compiled gives a row the same, whatever other rows there are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from threading import local
from typing import ClassVar

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
    """Whether what is compiled multiplies these faster than torch: with no other threads, which
    torch would have share a product."""
    return torch.get_num_threads() == 1 and multiplies(*tensors)


def multiplies(*tensors: torch.Tensor) -> bool:
    """Whether what is compiled can multiply these, in bfloat16; not every processor can."""
    return (
        tensors[0].dtype is torch.bfloat16
        and calls.fits(*tensors)
        and hasattr(compiled.library(), "products")
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


class _Pair(ctypes.Structure):
    """products.h says what each is; it is told of no places."""

    _fields_: ClassVar = [
        ("left", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("left_row", "left_column", "left_next")),
        ("right", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("right_row", "right_column", "right_next")),
        ("inner", ctypes.c_int64), ("places", ctypes.c_void_p),
    ]  # fmt: skip


class _Sum(ctypes.Structure):
    """Likewise."""

    _fields_: ClassVar = [
        ("pairs", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("count", "batch", "rows", "columns")),
        ("made", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("made_row", "made_next")),
        *((name, ctypes.c_int64) for name in ("in_float32", "add", "tiles")),
    ]  # fmt: skip


def _compiled(pairs: Sequence[Pair], into: torch.Tensor, add: bool) -> None:
    told = (_Pair * len(pairs))(*(_told(left, right) for left, right in pairs))
    rows, columns = into.shape[-2:]
    sum_of = _Sum(
        pairs=ctypes.addressof(told), count=len(pairs),
        batch=into.shape[0] if into.dim() == 3 else 1, rows=rows, columns=columns,
        made=into.data_ptr(), made_row=into.stride(-2), made_next=_next(into),
        in_float32=into.dtype is torch.float32, add=add, tiles=has_tiles(),
    )  # fmt: skip
    at = ctypes.byref(sum_of)
    space = room(calls.function("products_room")(at))
    calls.function("products")(at, space.data_ptr())


def _told(left: torch.Tensor, right: torch.Tensor) -> _Pair:
    (left_row, left_column), (right_row, right_column) = left.stride()[-2:], right.stride()[-2:]
    return _Pair(
        left=left.data_ptr(), left_row=left_row, left_column=left_column, left_next=_next(left),
        right=right.data_ptr(), right_row=right_row, right_column=right_column,
        right_next=_next(right), inner=left.shape[-1],
    )  # fmt: skip


def _next(tensor: torch.Tensor) -> int:
    return tensor.stride(0) if tensor.dim() == 3 else 0


_rooms = local()


def room(count: int) -> torch.Tensor:
    """Space for so many numbers, the calling thread's own; it stays as large as the largest was."""
    kept: torch.Tensor | None = getattr(_rooms, "kept", None)
    if kept is None or len(kept) < count:
        kept = _rooms.kept = torch.empty(count, dtype=torch.bfloat16, device="cpu")
    return kept


@cache
def has_tiles() -> bool:
    """Whether there are Intel's AMX, and the system lets this process use it."""
    return bool(calls.function("has_tiles")())
