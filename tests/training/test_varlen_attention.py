"""Attention of spans by FlashAttention's kernel for many lengths: what it is told, on a CPU with
products in its place, and what it gives, on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.training.test_loop import Heard
from torch.nn.functional import scaled_dot_product_attention

from sartor.progress import shown_by
from sartor.training import varlen_attention
from sartor.training.masks import hidden
from sartor.training.sharing import Span
from sartor.training.span_attention import attend

SPANS = (
    Span(0, 20), Span(20, 33, ((0, 20),)), Span(33, 34, ((0, 20), (20, 33))), Span(34, 60),
    Span(60, 71, ((0, 20),)),
)  # fmt: skip
PREFIX = 3


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    varlen_attention._works.cache_clear()
    yield
    varlen_attention._works.cache_clear()


def by_products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, queries: torch.Tensor,
    keys: torch.Tensor, most_queries: int, most_keys: int, *, scale: float,
    window_size: tuple[int, int], enable_gqa: bool,
) -> torch.Tensor:  # fmt: skip
    """What the kernel's documentation says that it gives."""
    assert window_size[1] == 0
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert queries.dtype == keys.dtype == torch.int32
    assert int(queries.diff().max()) == most_queries
    assert int(keys.diff().max()) == most_keys
    assert len(query) == int(queries[-1])
    assert len(key) == len(value) == int(keys[-1])
    window = None if window_size[0] < 0 else window_size[0] + 1
    made = []
    for number in range(len(queries) - 1):
        q = query[queries[number] : queries[number + 1]].transpose(0, 1)
        k, v = (t[keys[number] : keys[number + 1]].transpose(0, 1) for t in (key, value))
        seen = ~hidden(k.shape[1] - q.shape[1], k.shape[1], 0, window, q.device)
        one = scaled_dot_product_attention(
            q[None], k[None], v[None], seen, scale=scale, enable_gqa=enable_gqa
        )
        made.append(one[0].transpose(0, 1))
    return torch.cat(made)


def drawn(tokens: int, **kind: Any) -> list[torch.Tensor]:
    """query (1, 4, tokens, 8), key and value (1, 2, tokens, 8)."""
    generator = torch.Generator().manual_seed(0)
    made = (torch.randn(1, heads, tokens, 8, generator=generator) for heads in (4, 2, 2))
    return [tensor.to(**kind).requires_grad_() for tensor in made]


def attended(given: Sequence[torch.Tensor], window: int | None, prefix: Any) -> list[torch.Tensor]:
    """The values, and the gradients of all that is given."""
    told = SimpleNamespace(layer_idx=0)
    out = attend(
        told, given[0], given[1], given[2], None, 0.3, sliding_window=window, spans=SPANS,
        prefix=None if prefix is None else [prefix],
    )[0]  # fmt: skip
    leaves = [*given, *(() if prefix is None else prefix)]
    return [out, *torch.autograd.grad(out.float().square().sum(), leaves)]


@pytest.mark.parametrize("with_prefix", [False, True])
@pytest.mark.parametrize("window", [None, 7])
def test_the_kernel_is_told_what_every_span_sees(
    window: int | None, with_prefix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, prefix = drawn(SPANS[-1].end), None
    if with_prefix:
        prefix = tuple(tensor for tensor in drawn(PREFIX)[1:])
    expected = attended(given, window, prefix)
    asked = 0

    def kernel(*told: Any, **named: Any) -> torch.Tensor:
        nonlocal asked
        asked += 1
        return by_products(*told, **named)

    monkeypatch.setattr(varlen_attention, "fits", lambda *_: True)
    monkeypatch.setattr(varlen_attention, "_kernel", kernel)
    found = attended(given, window, prefix)
    assert asked == 1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def refused(*_: Any, **__: Any) -> torch.Tensor:
    raise RuntimeError("no kernel image is available\nfor this device")


def another(*told: Any, **named: Any) -> torch.Tensor:
    return by_products(*told, **{**named, "window_size": (3, 0)})


def without_gradients(*told: Any, **named: Any) -> torch.Tensor:
    made = by_products(*told, **named)
    return made.detach() + 0 * made


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (by_products, None),
        (refused, "RuntimeError: no kernel image is available)"),
        (another, "its values are not"),
        (without_gradients, "its gradients are not"),
    ],
)
def test_a_kernel_is_believed_when_it_gives_what_attention_does(
    kernel: Any, reason: str | None, windowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen_attention, "_kernel", kernel)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    heard = Heard()
    with shown_by(heard):
        for _ in range(2):  # it is tried once
            told = torch.device("cpu"), torch.bfloat16, 4, 2, 8, windowed
            assert varlen_attention._works(*told) == (reason is None)
    assert [line for line in heard.said if "FlashAttention" in line] == heard.said
    assert len(heard.said) == (reason is not None)
    assert reason is None or reason in heard.said[0]


def test_an_old_gpu_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen_attention, "_kernel", refused)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    heard = Heard()
    with shown_by(heard):
        assert not varlen_attention._works(torch.device("cpu"), torch.float16, 4, 2, 8, False)
    assert not heard.said


def test_a_cpu_has_no_such_kernel() -> None:
    query, key, value = drawn(8, dtype=torch.bfloat16)
    assert not varlen_attention.fits(query, key, value, None)


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize(("heads", "kinds", "width"), [(4, 4, 64), (32, 8, 128), (8, 1, 96)])
def test_a_gpu_has_it(heads: int, kinds: int, width: int, window: int | None) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    device = torch.device("cuda")
    if torch.cuda.get_device_capability(device)[0] < varlen_attention.CAPABILITY:
        pytest.skip("this GPU is older than the kernel")
    for dtype in varlen_attention.HALF:
        assert not varlen_attention._differs(device, dtype, heads, kinds, width, window)
