"""The compiled functions on tensors; see functions.h for what each computes."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch

from sartor.kernels import compiled

MOST_THREADS = 2
"""A function works in the thread that calls it, two to four times as fast as torch's operations,
which more threads share."""
Turn = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of every place, (tokens, dimension) each."""
KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def fits(*tensors: torch.Tensor | None) -> bool:
    """Whether these can be handed over: on a CPU, of one kind of number, and worth it."""
    given = [tensor for tensor in tensors if tensor is not None]
    kind = given[0].dtype
    return (
        all(t.device.type == "cpu" and t.dtype is kind and type(t) in _PLAIN for t in given)
        and kind in KINDS
        and torch.get_num_threads() <= MOST_THREADS
        and compiled.library() is not None
    )


_PLAIN = (torch.Tensor, torch.nn.Parameter)
"""Not those that are divided among processes, or stand for others."""


def norm(
    x: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x (..., width) normed, and by what each row was multiplied: (..., 1) in float32."""
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"a weight {tuple(weight.shape)} for rows of {x.shape[-1]}")
    x, scale = x.contiguous(), _float32(*x.shape[:-1], 1)
    y = torch.empty_like(x)
    _call("norm", x, x, weight.contiguous(), epsilon, y, scale, *_rows(x))
    return y, scale


def norm_back(
    x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, dy: torch.Tensor
) -> torch.Tensor:
    """The gradient of x."""
    x, dy = x.contiguous(), dy.contiguous()
    dx = torch.empty_like(x)
    _call("norm_back", x, x, weight.contiguous(), scale, dy, dx, *_rows(x))
    return dx


def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up."""
    if gate.shape != up.shape:
        raise ValueError(f"a gate {tuple(gate.shape)} for {tuple(up.shape)}")
    gate, up = gate.contiguous(), up.contiguous()
    made = torch.empty_like(gate)
    _call("gated", gate, gate, up, made, gate.numel())
    return made


def gated_back(
    gate: torch.Tensor, up: torch.Tensor, dy: torch.Tensor, room: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of gate, written over `dy`, and that of up, into `room`; both are contiguous."""
    gate, up = gate.contiguous(), up.contiguous()
    _call("gated_back", gate, gate, up, dy, room, gate.numel())
    return dy, room


def laid_out(x: torch.Tensor, kinds: int, turn: Turn | None, scale: float) -> torch.Tensor:
    """(tokens, heads, width) times `scale` and turned, as (kinds, tokens and one of zeros, heads /
    kinds * width)."""
    x = x.contiguous()
    tokens, heads, width = x.shape
    groups = heads // kinds
    made = x.new_empty(kinds, tokens + 1, groups * width)
    _call(
        "laid_out", x, x, *_turn(turn, (tokens, width)), scale, made, tokens, kinds, groups, width
    )
    return made


def laid_back(
    laid: torch.Tensor, heads: int, turn: Turn | None, scale: float, dtype: torch.dtype
) -> torch.Tensor:
    """The gradient (tokens, heads, width) of what was laid out, of that in float32 of what came of
    it."""
    kinds, places, row = laid.shape
    tokens, groups = places - 1, heads // kinds
    width = row // groups
    made = torch.empty(tokens, heads, width, dtype=dtype, device="cpu")
    turned = _turn(turn, (tokens, width))
    _call("laid_back", made, laid, *turned, scale, made, tokens, kinds, groups, width)
    return made


def chances(
    scores: torch.Tensor, unseen: torch.Tensor, queries: int, start: int, window: int | None
) -> None:
    """Scores (key heads * blocks, queries * groups, keys) become chances. Of the keys of a block
    (blocks,) the first ones are `unseen`; its query i sees those up to `start` + i."""
    room = _float32(scores.shape[-1])
    _call("chances", scores, scores, room, unseen, *_seen(scores, unseen, queries, start, window))


def chances_back(
    given: torch.Tensor, chances: torch.Tensor, unseen: torch.Tensor, queries: int, start: int,
    window: int | None,
) -> None:  # fmt: skip
    """The gradient of scores is written over that of their chances."""
    sizes = _seen(given, unseen, queries, start, window)
    _call("chances_back", given, given, chances, unseen, *sizes)


def written(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, shared: torch.Tensor | None,
    firsts: torch.Tensor, used: int,
) -> torch.Tensor:  # fmt: skip
    """What the newest tokens q (answers, kinds, groups, width), scaled, are given by the keys and
    values (answers, kinds, places, width) of their own answers, from `firsts` (answers,) to `used`;
    scores of what they `shared` (answers, kinds, groups, keys) with others become chances."""
    q, (answers, kinds, groups, width) = q.contiguous(), q.shape
    places, deep = values.shape[2:]
    given = (keys, values, *(() if shared is None else (shared,)))
    are_contiguous = all(tensor.is_contiguous() for tensor in given)
    if (
        not are_contiguous
        or keys.shape != (answers, kinds, places, width)
        or not 0 < used <= places
    ):
        raise ValueError(f"keys {tuple(keys.shape)} and values {tuple(values.shape)} for {used}")
    before = 0 if shared is None else shared.shape[-1]
    made = q.new_empty(answers, kinds, groups, deep)
    room = _float32(before + used + max(width, deep))
    sizes = (answers, kinds, groups, width, deep, places, used, before)
    _call("written", q, q, keys, values, shared, firsts, room, made, *sizes)
    return made


def put(rows: torch.Tensor, places: torch.Tensor, nowhere: int, to: torch.Tensor) -> None:
    """Rows (kinds * blocks, ..., width) written to places (count,) of `to` (kinds, places, width);
    those at `nowhere` are dropped."""
    rows = rows.to(to.dtype)
    _call("put", rows, rows, places, nowhere, to, *_places(to, places))


def added(rows: torch.Tensor, places: torch.Tensor, nowhere: int, to: torch.Tensor) -> None:
    """Likewise, added to what is there, in float32."""
    _call("added", rows, rows, places, nowhere, to, *_places(to, places))


def cross_entropy(logits: torch.Tensor, right: torch.Tensor, *, learning: bool) -> float:
    """The sum over logits (rows, words) at the right words (rows,); where `learning`, they become
    their gradients. IndexError where a word is none of them."""
    words, right = logits.shape[-1], right.reshape(-1).to(torch.int64).contiguous()
    if len(right) != len(logits) or not logits.is_contiguous():
        raise ValueError(f"{len(right)} labels for {len(logits)} rows of logits, one after another")
    wrong = right[(right < 0) | (right >= words)]
    if len(wrong):
        raise IndexError(f"a label is {int(wrong[0])}; there are {words} words")
    room = _float32(words)
    total: float = _call("cross_entropy", logits, logits, right, room, *logits.shape, int(learning))
    return total


def _rows(x: torch.Tensor) -> tuple[int, int]:
    return x.numel() // x.shape[-1], x.shape[-1]


def _float32(*shape: int) -> torch.Tensor:
    """Room for what C writes; torch would make it as its defaults say."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def _turn(turn: Turn | None, shape: tuple[int, int]) -> tuple[Any, Any]:
    """ValueError where only a part of each head is turned, as in GLM."""
    if turn is None:
        return None, None
    if any(t.shape != shape for t in turn):
        raise ValueError(f"{shape} numbers are turned by {tuple(turn[0].shape)}")
    return turn[0].contiguous(), turn[1].contiguous()


def _seen(
    scores: torch.Tensor, unseen: torch.Tensor, queries: int, start: int, window: int | None
) -> tuple[int, ...]:
    count, rows, keys = scores.shape
    return count // len(unseen), len(unseen), queries, rows // queries, keys, start, window or 0


def _places(to: torch.Tensor, places: torch.Tensor) -> tuple[int, ...]:
    return len(to), len(places), to.shape[-1], to.stride(0), to.stride(1)


def _call(name: str, like: torch.Tensor, *arguments: Any) -> Any:
    """The function for that kind of number; tensors are handed over by their address."""
    return function(f"{name}_{KINDS[like.dtype]}")(
        *(a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments)
    )


POINTER, NUMBER, COUNT = ctypes.c_void_p, ctypes.c_float, ctypes.c_int64
TAKES = {
    "norm": [POINTER, POINTER, NUMBER, POINTER, POINTER, COUNT, COUNT],
    "norm_back": [*[POINTER] * 5, COUNT, COUNT],
    "gated": [*[POINTER] * 3, COUNT],
    "gated_back": [*[POINTER] * 4, COUNT],
    "laid_out": [*[POINTER] * 3, NUMBER, POINTER, *[COUNT] * 4],
    "laid_back": [*[POINTER] * 3, NUMBER, POINTER, *[COUNT] * 4],
    "chances": [*[POINTER] * 3, *[COUNT] * 7],
    "chances_back": [*[POINTER] * 3, *[COUNT] * 7],
    "written": [*[POINTER] * 7, *[COUNT] * 8],
    "put": [POINTER, POINTER, COUNT, POINTER, *[COUNT] * 5],
    "added": [POINTER, POINTER, COUNT, POINTER, *[COUNT] * 5],
    "cross_entropy": [*[POINTER] * 3, *[COUNT] * 3],
    "products_room": [POINTER],
    "products": [POINTER] * 2,
    "has_tiles": [],
    "attention_room": [POINTER],
    "attended": [POINTER] * 4,
    "attended_back": [POINTER, POINTER, COUNT, *[POINTER] * 5],
}


ANSWERS = {
    "cross_entropy": ctypes.c_double, "products_room": COUNT, "attention_room": COUNT,
    "has_tiles": COUNT,
}  # fmt: skip
"""What those give that give something."""


@cache
def function(name: str) -> Any:
    """One of the library's, of which `fits` has been asked."""
    found: Any = getattr(compiled.library(), name)
    plain = name.removesuffix("_float32").removesuffix("_bfloat16")
    found.argtypes, found.restype = TAKES[plain], ANSWERS.get(plain)
    return found
