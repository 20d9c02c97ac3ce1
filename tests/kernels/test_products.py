"""Products and attention in bfloat16 that are compiled, against torch in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_fused import SPANS, plain

from sartor.kernels import attention, calls, products
from sartor.training.attention_blocks import asking, every
from sartor.training.blocked_attention import turned_attention
from sartor.training.fused import use_fused
from sartor.training.sharing import Span

BY_TORCH = products._by_torch
EXACT = 1e-5
"""Largest difference of sums in float32, in parts of the largest number."""
ROUNDED = 2**-8 * 1.01
"""Of a number in bfloat16."""
TWICE = 2**-6
"""Of what comes of numbers that were rounded on the way."""
SHAPES = [
    (1, 1, 1), (5, 7, 9), (33, 31, 17), (16, 301, 40), (64, 64, 64), (100, 75, 600), (40, 9000, 40),
]  # fmt: skip
LONG = (Span(0, 300), Span(300, 340, ((0, 300),)), Span(340, 801))


@pytest.fixture(autouse=True, params=["tiles", "vectors"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each test twice; what is laid out finds no zeros where it is laid, but no-numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if not products.fits(torch.empty(1, dtype=torch.bfloat16)):
        pytest.skip("this processor does not multiply bfloat16, or there is no compiler")
    if request.param == "tiles" and not products.has_tiles():
        pytest.skip("this processor has no tiles (AMX)")
    monkeypatch.setattr(products, "has_tiles", lambda: request.param == "tiles")
    monkeypatch.setattr(products, "_by_torch", None)  # nothing is left to it unsaid
    nothing = partial(torch.full, fill_value=float("nan"), dtype=torch.bfloat16)
    monkeypatch.setattr(products, "room", lambda numbers: nothing((numbers,)))
    yield request.param
    torch.set_num_threads(before)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).bfloat16()


def assert_near(found: torch.Tensor, expected: torch.Tensor, most: float) -> None:
    assert found.shape == expected.shape
    assert (found.double() - expected).abs().max() <= most * expected.abs().max()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("left_turned", [False, True])
@pytest.mark.parametrize("right_turned", [False, True])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_product(
    kind: torch.dtype, add: bool, right_turned: bool, left_turned: bool, shape: tuple[int, ...]
) -> None:
    rows, inner, columns = shape
    left = drawn(inner, rows).t() if left_turned else drawn(rows, inner)
    right = drawn(columns, inner, seed=1).t() if right_turned else drawn(inner, columns, seed=1)
    wider = torch.full((rows + 1, columns + 3), 2.0, dtype=kind)
    into = wider[:rows, 1 : columns + 1]
    into.copy_(drawn(rows, columns, seed=2))
    expected = left.double() @ right.double() + (into.double() if add else 0)
    products.summed([(left, right)], into, add=add)
    assert_near(into, expected, EXACT if kind is torch.float32 else ROUNDED)
    into.fill_(2.0)
    assert (wider == 2.0).all()  # nothing else was written


def test_a_sum_of_products_is_rounded_once() -> None:
    pairs = [(drawn(3, 70, n, seed=n), drawn(3, n, 50, seed=-n)) for n in (40, 33, 8, 64)]
    expected = sum(left.double() @ right.double() for left, right in pairs)
    assert isinstance(expected, torch.Tensor)
    made = torch.empty(3, 70, 50)
    products.summed(pairs, made)
    assert_near(made, expected, EXACT)
    half = torch.empty(3, 70, 50, dtype=torch.bfloat16)
    products.summed(pairs, half)
    assert_near(half, expected, ROUNDED)


def test_a_batch_may_have_one_matrix_for_all_and_be_a_part_of_something() -> None:
    left, right = drawn(1, 20, 40).expand(4, 20, 40), drawn(4, 50, 90, seed=1)[:, 5:45, 7:60]
    made = torch.empty(4, 20, 53, dtype=torch.bfloat16)
    products.summed([(left, right)], made)
    assert_near(made, left.double() @ right.double(), ROUNDED)
    assert_near(products.product(left, right), left.double() @ right.double(), ROUNDED)


def test_a_row_is_the_same_whatever_others_there_are() -> None:
    left, right = drawn(77, 100), drawn(100, 60, seed=1)
    whole = products.product(left, right)
    for rows in (1, 31, 40):
        assert torch.equal(products.product(left[5 : 5 + rows], right), whole[5 : 5 + rows])


def test_no_numbers_are_handed_on_and_go_nowhere_else() -> None:
    left, right = drawn(40, 40), drawn(40, 40, seed=1)
    left[3, 5], right[7, 9] = float("nan"), float("inf")
    made = products.product(left, right).isfinite()
    assert not made[3].any()
    assert not made[:, 9].any()
    assert made.sum() == 39 * 39


def test_what_does_not_fit_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was compiled")

    monkeypatch.setattr(products, "_compiled", never)
    monkeypatch.setattr(products, "_by_torch", BY_TORCH)
    left, right = drawn(6, 8), drawn(8, 4, seed=1)
    for kind in (torch.float32, torch.float64):
        assert_near(
            products.product(left.to(kind), right.to(kind)), left.double() @ right.double(), 1e-6
        )
    assert products.product(left[:0], right).shape == (0, 4)
    assert not products.product(left[:, :0], right[:0]).any()
    spread = drawn(6, 16)[:, ::2]
    assert_near(products.product(spread, right), spread.double() @ right.double(), ROUNDED)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        products.product(left, right[1:])
    five = torch.empty(6, 4, dtype=torch.bfloat16)
    products.summed([(left, right)] * 5, five)
    assert_near(five, 5 * left.double() @ right.double(), TWICE)
    torch.set_num_threads(2)
    assert calls.fits(left)
    assert not products.fits(left)
    assert attention.fits(left[None], left[None], left[None])  # one thread is as fast as two
    assert_near(products.product(left, right), left.double() @ right.double(), ROUNDED)


@pytest.mark.parametrize("spans", [SPANS, LONG])
@pytest.mark.parametrize("window", [None, 3, 70])
@pytest.mark.parametrize("heads", [(2, 2), (6, 2), (3, 1)])
@pytest.mark.parametrize(("width", "deep"), [(4, 7), (64, 64), (80, 48)])
def test_attention_and_its_gradients(
    width: int, deep: int, heads: tuple[int, int], window: int | None, spans: tuple[Span, ...]
) -> None:
    tokens = spans[-1].end
    sizes = (heads[0], width), (heads[1], width), (heads[1], deep)
    q, k, v = (drawn(tokens, *size, seed=seed).requires_grad_() for seed, size in enumerate(sizes))
    assert attention.fits(q, k, v)
    made = turned_attention(q, k, v, None, every(spans), width**-0.5, window)
    exact = [t.detach().double().transpose(0, 1).requires_grad_() for t in (q, k, v)]
    expected = plain(exact[0], exact[1], exact[2], spans, width**-0.5, window)
    assert_near(made, expected, TWICE)
    weights = drawn(*made.shape, seed=3)
    found = torch.autograd.grad(made, (q, k, v), weights)
    right = torch.autograd.grad(expected, exact, weights.double())
    for one, other in zip(found, right, strict=True):
        assert_near(one.transpose(0, 1), other, TWICE)


def turned(rows: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """(tokens, heads, width), by its positions."""
    first, second = rows.chunk(2, -1)
    half = torch.cat([-second, first], -1)
    return rows * cosines.double()[:, None] + half * sines.double()[:, None]


@pytest.mark.parametrize("groups", [1, 3])
def test_attention_of_the_places_that_ask(groups: int) -> None:
    places = [*range(360, 452), *range(500, 503), 700, 702]
    spans = (Span(0, 453), Span(453, 620), Span(620, 730, ((0, 40), (453, 500))))
    q, k, v = (
        drawn(count, 2 * by, 32, seed=seed).requires_grad_()
        for seed, (count, by) in enumerate([(len(places), groups), (730, 1), (730, 1)])
    )
    angles = drawn(730, 32, seed=4).float()
    turn = angles.cos().bfloat16(), angles.sin().bfloat16()
    made = turned_attention(q, k, v, turn, asking(spans, places), 0.2)
    exact = [t.detach().double().requires_grad_() for t in (q, k, v)]
    asked = turned(exact[0], *(t[places] for t in turn))
    keys = turned(exact[1], *turn)
    whole = torch.zeros(730, 2 * groups, 32, dtype=torch.float64).index_put(
        (torch.tensor(places),), asked
    )
    seen = plain(
        whole.transpose(0, 1), keys.transpose(0, 1), exact[2].transpose(0, 1), spans, 0.2, None
    )
    expected = seen[:, places]
    assert_near(made, expected, TWICE)
    weights = drawn(*made.shape, seed=5)
    found = torch.autograd.grad(made, (q, k, v), weights)
    right = torch.autograd.grad(expected, exact, weights.double())
    for one, other in zip(found, right, strict=True):
        assert_near(one, other, TWICE)


def test_odd_heads_that_turn_and_other_numbers_are_attended_in_other_ways() -> None:
    odd, even = drawn(9, 2, 5), drawn(9, 2, 6)
    assert attention.fits(odd, odd, odd)
    assert not attention.fits(odd, odd, odd, odd[:, 0], odd[:, 0])
    assert attention.fits(even, even, odd, even[:, 0], even[:, 0])
    assert not attention.fits(even.float(), even.float(), even.float())


@pytest.mark.parametrize("trains", [False, True])
def test_gradients_of_a_network_are_those_of_torch(
    trains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_by_torch", BY_TORCH)  # replacements are tried in float32
    plain_one = tiny_models.network("llama").requires_grad_(trains)
    fused = copy.deepcopy(plain_one)
    use_fused(fused)
    asked, compiled = 0, products._compiled

    def counted(*given: Any) -> None:
        nonlocal asked
        asked += 1
        compiled(*given)

    monkeypatch.setattr(products, "_compiled", counted)

    def gradients(network: torch.nn.Module) -> list[torch.Tensor]:
        inputs = network.get_input_embeddings()(torch.arange(3, 40)[None]).detach()  # type: ignore[operator]
        inputs.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(inputs_embeds=inputs, use_cache=False).logits
        loss = logits.float().log_softmax(-1)[..., 5].sum()
        wanted = [p for n, p in network.named_parameters() if trains and "embed" not in n]
        return list(torch.autograd.grad(loss, [inputs, *wanted]))

    for found, expected in zip(gradients(fused), gradients(plain_one), strict=True):
        assert (found - expected).norm() <= 0.03 * expected.norm()
    assert asked > 0
