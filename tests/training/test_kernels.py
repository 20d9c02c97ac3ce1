"""What is compiled, against torch in float64; and what happens where nothing can be compiled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny_models
from torch.nn import functional

from sartor.progress import shown_by
from sartor.training.fused import use_fused
from sartor.training.kernels import calls, compiled

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}
"""Largest difference in parts of the largest number."""
kinds_of_number = pytest.mark.parametrize("dtype", list(TOLERANCE))


@pytest.fixture(autouse=True)
def a_compiler() -> Iterator[None]:
    compiled.library.cache_clear()
    calls._function.cache_clear()
    if compiled.library() is None:
        pytest.skip("no C compiler (cc, gcc or clang) here")
    yield
    compiled.library.cache_clear()
    calls._function.cache_clear()


def drawn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def assert_near(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    assert found.shape == expected.shape
    difference = (found.double() - expected).abs().max()
    assert difference <= TOLERANCE[dtype] * expected.abs().max()


@kinds_of_number
@pytest.mark.parametrize("width", [8, 37, 256])
def test_a_norm_and_its_gradient(width: int, dtype: torch.dtype) -> None:
    x, weight, dy = drawn(5, width, dtype=dtype), drawn(width, dtype=dtype), drawn(5, width)
    dy = dy.to(dtype)
    y, scale = calls.norm(x, weight, 1e-5)
    exact = x.double().requires_grad_()
    expected = functional.rms_norm(exact, (width,), weight.double(), 1e-5)
    assert_near(y, expected.detach(), dtype)
    [gradient] = torch.autograd.grad(expected, exact, dy.double())
    assert_near(calls.norm_back(x, weight, scale, dy), gradient, dtype)


@kinds_of_number
def test_a_gate_and_its_gradients(dtype: torch.dtype) -> None:
    gate, up, dy = (drawn(3, 77, dtype=dtype, seed=seed) * 4 for seed in range(3))
    gate[0, :4] = torch.tensor([-200.0, 200.0, -30.0, 30.0])
    exact = [t.double().requires_grad_() for t in (gate, up)]
    expected = functional.silu(exact[0]) * exact[1]
    assert_near(calls.gated(gate, up), expected.detach(), dtype)
    d_gate, d_up = dy.clone(), torch.empty_like(up)
    calls.gated_back(gate, up, d_gate, d_up)
    for found, right in zip(
        (d_gate, d_up), torch.autograd.grad(expected, exact, dy.double()), strict=True
    ):
        assert_near(found, right, dtype)


@kinds_of_number
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_chances_and_the_gradient_of_scores(
    groups: int, window: int | None, dtype: torch.dtype
) -> None:
    kinds, queries, keys, start = 2, 4, 9, 4
    unseen = torch.tensor([0, 3, 1])
    scores = 3 * drawn(kinds * len(unseen), queries * groups, keys, dtype=dtype)
    given = drawn(*scores.shape, dtype=dtype, seed=1)
    place, query = torch.arange(keys), torch.arange(queries).repeat_interleave(groups)[:, None]
    seen = place <= query + start
    if window is not None:
        seen &= place > query + start - window
    shown = seen & (place >= unseen.repeat(kinds)[:, None, None])
    exact = scores.double().requires_grad_()
    expected = exact.masked_fill(~shown, float("-inf")).softmax(-1)
    calls.chances(scores, unseen, queries, start, window)
    assert_near(scores, expected.detach(), dtype)
    assert not scores[~shown].any()
    [gradient] = torch.autograd.grad(expected, exact, given.double())
    calls.chances_back(given, expected.detach().to(dtype), unseen, queries, start, window)
    assert_near(given, gradient, dtype)


@kinds_of_number
@pytest.mark.parametrize("turns", [False, True])
def test_what_is_laid_out_and_its_gradient(turns: bool, dtype: torch.dtype) -> None:
    tokens, heads, kinds, width = 5, 4, 2, 6
    x = drawn(tokens, heads, width, dtype=dtype)
    angles = drawn(tokens, width, seed=2)
    turn = (angles.cos().to(dtype), angles.sin().to(dtype)) if turns else None
    exact = x.double().requires_grad_()
    expected = exact
    if turn is not None:
        cosines, sines = (t.double()[:, None] for t in turn)
        first, second = exact.chunk(2, -1)
        expected = exact * cosines + torch.cat([-second, first], -1) * sines
    expected = 0.3 * expected.view(tokens, kinds, -1).transpose(0, 1)
    laid = calls.laid_out(x, kinds, turn, 0.3)
    assert_near(laid[:, :-1], expected.detach(), dtype)
    assert not laid[:, -1].any()
    given = drawn(kinds, tokens + 1, heads // kinds * width, seed=3)
    [gradient] = torch.autograd.grad(expected, exact, given[:, :-1].double())
    assert_near(calls.laid_back(given, heads, turn, 0.3, dtype), gradient, dtype)


@kinds_of_number
def test_rows_are_put_in_their_places_and_added(dtype: torch.dtype) -> None:
    rows, places = drawn(2, 4, 5, dtype=dtype), torch.tensor([2, 7, 0, 1])
    to = torch.zeros(2, 3, 5, dtype=dtype)
    calls.put(rows, places, 7, to)
    assert torch.equal(to, rows[:, [2, 3, 0]])
    turned = torch.zeros(3, 2, 5, dtype=dtype).transpose(0, 1)
    calls.put(rows, places, 7, turned)
    assert torch.equal(turned, to)
    total = torch.ones(2, 3, 5)
    calls.added(rows, torch.tensor([2, 7, 2, 1]), 7, total)
    assert torch.equal(total[:, 0], torch.ones(2, 5))
    assert_near(total[:, 2], 1 + rows[:, 0].double() + rows[:, 2].double(), torch.float32)


@kinds_of_number
@pytest.mark.parametrize("learning", [False, True])
def test_the_loss_and_the_gradient_of_logits(learning: bool, dtype: torch.dtype) -> None:
    logits, right = 5 * drawn(6, 101, dtype=dtype), torch.arange(6)
    exact = logits.double().requires_grad_()
    expected = functional.cross_entropy(exact, right, reduction="sum")
    before = logits.clone()
    found = calls.cross_entropy(logits, right, learning=learning)
    assert found == pytest.approx(expected.item(), rel=1e-4 if dtype is torch.bfloat16 else 1e-6)
    if learning:
        assert_near(logits, torch.autograd.grad(expected, exact)[0], dtype)
    else:
        assert torch.equal(logits, before)


def test_a_label_that_is_no_word_is_refused() -> None:
    with pytest.raises(IndexError, match="a label is 4; there are 4 words"):
        calls.cross_entropy(drawn(2, 4), torch.tensor([1, 4]), learning=True)


@kinds_of_number
def test_what_is_no_number_is_handed_on(dtype: torch.dtype) -> None:
    x = drawn(3, 8, dtype=dtype)
    x[1, 2] = float("nan")
    y, scale = calls.norm(x, torch.ones(8, dtype=dtype), 1e-5)
    assert y[1].isnan().all()
    assert scale.isnan().tolist() == [False, True, False]
    assert calls.gated(x, x).isnan().sum() == 1
    scores = x.clone()[None]
    calls.chances(scores, torch.tensor([0]), 3, 5, None)
    assert scores[0, 1, :7].isnan().all()
    assert not scores[0, [0, 2]].isnan().any()
    assert isnan(calls.cross_entropy(x, torch.tensor([0, 1, 2]), learning=True))
    assert x[1].isnan().all()
    x[0, 0] = float("inf")
    assert calls.gated(x, torch.ones_like(x))[0, 0] == float("inf")


def test_gradients_are_the_same_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_models.network("llama").requires_grad_(False)
    use_fused(network)
    inputs = network.get_input_embeddings()(torch.arange(3, 20)[None]).requires_grad_()

    def gradient() -> torch.Tensor:
        logits = network(inputs_embeds=inputs, use_cache=False).logits
        found: torch.Tensor = torch.autograd.grad(logits.square().sum(), inputs)[0]
        return found

    compiled_one = gradient()
    monkeypatch.setattr(calls, "fits", lambda *_: False)
    other = gradient()
    assert not torch.equal(compiled_one, other)  # else both ways are one
    assert torch.allclose(compiled_one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_more_threads_share_the_operations_of_torch() -> None:
    x, before = drawn(2, 4), torch.get_num_threads()
    try:
        torch.set_num_threads(calls.MOST_THREADS)
        assert calls.fits(x)
        torch.set_num_threads(calls.MOST_THREADS + 1)
        assert not calls.fits(x)
    finally:
        torch.set_num_threads(before)


def test_other_numbers_and_tensors_of_several_kinds_do_not_fit() -> None:
    assert not calls.fits(drawn(2, dtype=torch.float64))
    assert not calls.fits(drawn(2), drawn(2, dtype=torch.bfloat16))
    assert not calls.fits(torch.empty(2, device="meta"))


class Heard:
    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self, *_: Any) -> Any:
        raise AssertionError

    def finish(self, task: Any) -> None:
        raise AssertionError

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiled.library.cache_clear()
    return tmp_path / "cache" / "sartor" / "kernels"


def test_it_is_compiled_once(anew: Path) -> None:
    assert compiled.library() is not None
    [made] = anew.iterdir()
    first = made.stat()
    compiled.library.cache_clear()
    assert compiled.library() is not None
    assert made.stat() == first
    assert anew.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_no_longer_whole_is_made_again(anew: Path) -> None:
    compiled.library()
    [made] = anew.iterdir()
    whole = made.read_bytes()
    made.unlink()  # the loaded one stays as it is
    made.write_bytes(whole[:100])
    told = "from sartor.training.kernels import compiled; print(compiled.library())"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert "CDLL" in done.stdout
    assert made.stat().st_size == len(whole)


def test_where_others_may_write_nothing_is_kept(anew: Path) -> None:
    anew.mkdir(parents=True)
    anew.chmod(0o777)
    assert compiled.library() is not None
    assert not list(anew.iterdir())


def test_without_a_compiler_torch_does_it(anew: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "")
    heard = Heard()
    with shown_by(heard):
        assert compiled.library() is None
    assert not calls.fits(drawn(2))
    assert not heard.said
    assert not anew.exists()


def test_a_compiler_that_fails_is_said_once(
    anew: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    heard = Heard()
    with shown_by(heard):
        assert not calls.fits(drawn(2))
        assert not calls.fits(drawn(2))
    [said] = heard.said
    assert "could not compile" in said
    assert "no space left" in said
    assert not list(anew.iterdir())
