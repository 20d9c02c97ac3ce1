"""Causal attention of a whole row of examples or prompts, where a processor multiplies bfloat16.

See attention.h for how it is computed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sartor.kernels import calls, products

QUERIES = 128
"""At a time, of those that follow one another: more hold more of what they give their keys, fewer
lay the keys out more often."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Neighbouring queries."""

    row: int
    """Of the first one."""
    count: int
    keys: torch.Tensor
    """Places of all that the last one sees: its own is the last, that of the one before it the one
    before, and so on."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Who asks whom: what attention.h calls blocks, a row each, (blocks, 4), and the places of
    their keys, (keys of all,); a query sees the last `window` keys."""

    rows: torch.Tensor
    places: torch.Tensor
    window: int | None


def blocks(all_asking: Iterable[Asking], window: int | None) -> Blocks:
    rows: list[tuple[int, ...]] = []
    places: list[torch.Tensor] = []
    total = 0
    for asking in all_asking:
        before = len(asking.keys) - asking.count
        for at in range(0, asking.count, QUERIES):
            count, ahead = min(QUERIES, asking.count - at), before + at
            first = 0 if window is None else max(0, ahead - window + 1)
            rows.append((asking.row + at, count, total + first, ahead - first))
        places.append(asking.keys)
        total += len(asking.keys)
    return Blocks(torch.tensor(rows), torch.cat(places), window)


def fits(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *turn: torch.Tensor) -> bool:
    """Whether attention of these can be computed so, and `calls.laid_out` can turn them. By one
    thread it takes a third of what torch's products take, so two of torch's own are no faster."""
    halves = query.shape[-1] % 2 == 0 or not turn
    return halves and products.multiplies(query, key, value, *turn)


def attended(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks, groups: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What q, k and v give, as `calls.laid_out` laid them: (rows, kinds * groups, width of v), and
    what the way back needs of it."""
    kinds, rows, deep = len(q), q.shape[1] - 1, v.shape[-1]
    out = q.new_empty(rows, kinds * groups, deep)
    normal = torch.empty(kinds, rows, groups, dtype=torch.float32, device="cpu")
    told, room = _told(q, k, v, blocks, groups)
    calls.function("attended")(told, out.data_ptr(), normal.data_ptr(), room.data_ptr())
    return out, normal


def attended_back(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks, groups: int,
    normal: torch.Tensor, d_out: torch.Tensor,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """The gradients of q, k and v in float32, of that of what they gave, laid out like q."""
    made = tuple(torch.zeros(t.shape, dtype=torch.float32, device="cpu") for t in (q, k, v))
    told, room = _told(q, k, v, blocks, groups)
    calls.function("attended_back")(
        told, d_out.data_ptr(), d_out.stride(0), normal.data_ptr(), *(m.data_ptr() for m in made),
        room.data_ptr(),
    )  # fmt: skip
    return made


class _Attention(ctypes.Structure):
    """attention.h says what each is."""

    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("q", "k", "v")),
        *((name, ctypes.c_int64) for name in ("q_next", "k_next", "v_next")),
        *((name, ctypes.c_int64) for name in ("kinds", "groups", "width", "deep")),
        *((name, ctypes.c_int64) for name in ("window", "rows")),
        ("blocks", ctypes.c_void_p), ("count", ctypes.c_int64), ("places", ctypes.c_void_p),
        ("tiles", ctypes.c_int64),
    ]  # fmt: skip


def _told(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks, groups: int
) -> tuple[Any, torch.Tensor]:
    """What C is told, and room for what it lays out."""
    kinds, places, row = q.shape
    told = _Attention(
        q=q.data_ptr(), k=k.data_ptr(), v=v.data_ptr(),
        q_next=q.stride(0), k_next=k.stride(0), v_next=v.stride(0),
        kinds=kinds, groups=groups, width=row // groups, deep=v.shape[-1],
        window=blocks.window or 0, rows=places - 1, blocks=blocks.rows.data_ptr(),
        count=len(blocks.rows), places=blocks.places.data_ptr(), tiles=products.has_tiles(),
    )  # fmt: skip
    at = ctypes.byref(told)
    return at, products.room(calls.function("attention_room")(at))
