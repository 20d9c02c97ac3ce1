"""Causal attention of a whole pack, compiled where a processor multiplies bfloat16.

See attention.h for how.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from sartor.kernels import calls, products


@dataclass(frozen=True, slots=True)
class Blocks:
    """Who asks whom: what attention.h calls blocks, a row each, (blocks, 4), and the places of
    their keys, (keys of all,); a query sees the last `window` keys."""

    rows: torch.Tensor
    places: torch.Tensor
    window: int | None


def fits(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *turn: torch.Tensor) -> bool:
    """Whether attention of these, (tokens, heads, width) each, can be computed so."""
    even = query.shape[-1] % 2 == value.shape[-1] % 2 == 0
    turns = all(tensor.shape[-1] == query.shape[-1] for tensor in turn)
    return even and turns and products.fits(query, key, value, *turn)


def attended(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks, groups: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What q, k and v give, as `calls.laid_out` laid them: (rows, kinds * groups, width of v), and
    what the way back needs of it."""
    kinds, rows, deep = len(q), q.shape[1] - 1, v.shape[-1]
    out = q.new_empty(rows, kinds * groups, deep)
    normal = torch.empty(kinds, rows, groups, dtype=torch.float32, device="cpu")
    told, room = _told(q, k, v, blocks, groups)
    _library().attended(told, out.data_ptr(), normal.data_ptr(), room.data_ptr())
    return out, normal


def attended_back(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks, groups: int,
    normal: torch.Tensor, d_out: torch.Tensor,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """The gradients of q, k and v in float32, of that of what they gave, laid out like q."""
    made = tuple(torch.zeros(t.shape, dtype=torch.float32, device="cpu") for t in (q, k, v))
    told, room = _told(q, k, v, blocks, groups)
    _library().attended_back(
        told, d_out.data_ptr(), d_out.stride(0), normal.data_ptr(), *(m.data_ptr() for m in made),
        room.data_ptr(),
    )  # fmt: skip
    return made


def _told(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks, groups: int
) -> tuple[Any, torch.Tensor]:
    """What attention.h calls Attention, and room for what it lays out."""
    kinds, places, row = q.shape
    told = products.numbers(
        *(t.data_ptr() for t in (q, k, v)), *(t.stride(0) for t in (q, k, v)), kinds, groups,
        row // groups, v.shape[-1], blocks.window or 0, places - 1, blocks.rows.data_ptr(),
        len(blocks.rows), blocks.places.data_ptr(), products.has_tiles(),
    )  # fmt: skip
    return told, products.room(_library().attention_room(told))


@cache
def _library() -> Any:
    library = products.library()
    pointer, count = calls.POINTER, calls.COUNT
    library.attention_room.restype = count
    library.attention_room.argtypes = [pointer]
    library.attended.restype = library.attended_back.restype = None
    library.attended.argtypes = [pointer] * 4
    library.attended_back.argtypes = [pointer, pointer, count, *[pointer] * 5]
    return library
