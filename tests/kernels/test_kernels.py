"""What is compiled, against torch in float64; and what happens where nothing can be compiled."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from pathlib import Path

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import Heard
from torch.nn import functional

from sartor.kernels import calls, compiled
from sartor.progress import shown_by
from sartor.training.blocked_attention import blocked_attention
from sartor.training.fused import use_fused
from sartor.training.head import use_plain_head
from sartor.training.lean_blocks import use_lean_blocks
from sartor.training.packed_attention import use_packed_attention
from sartor.training.sharing import Span

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}
"""Largest difference in parts of the largest number."""
kinds_of_number = pytest.mark.parametrize("dtype", list(TOLERANCE))


@pytest.fixture(autouse=True)
def a_compiler() -> Iterator[None]:
    compiled.library.cache_clear()
    calls.function.cache_clear()
    if compiled.library() is None:
        pytest.skip("no C compiler (cc, gcc or clang) here")
    yield
    compiled.library.cache_clear()
    calls.function.cache_clear()


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
    spread = weight.repeat_interleave(2)[::2]  # every other number
    assert torch.equal(calls.norm(x, spread, 1e-5)[0], y)
    with pytest.raises(ValueError, match="a weight"):
        calls.norm(x, weight[:1], 1e-5)


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


def test_small_chances_are_as_exact_as_large_ones() -> None:
    gate = torch.linspace(-79, 79, 1001)
    exact = functional.silu(gate.double())
    found = calls.gated(gate, torch.ones_like(gate)).double()
    assert ((found - exact).abs() <= 5e-7 * exact.abs()).all()


def test_a_gate_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a gate \(3, 4\) for \(3, 1\)"):
        calls.gated(drawn(3, 4), drawn(3, 1))


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
@pytest.mark.parametrize("shared", [0, 5])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("used", [1, 6, 11])
def test_what_the_newest_tokens_are_given(
    used: int, groups: int, shared: int, dtype: torch.dtype
) -> None:
    answers, kinds, width, deep, places = 3, 2, 20, 12, 11
    q = drawn(answers, kinds, groups, width, dtype=dtype)
    keys = drawn(answers + 1, kinds, places, width, dtype=dtype, seed=1)[:answers]
    values = drawn(answers + 1, kinds, places, deep, dtype=dtype, seed=2)[:answers]
    keys[:, :, used:] = values[:, :, used:] = float("nan")  # no answer has them yet
    given = 3 * drawn(answers, kinds, groups, shared, dtype=dtype, seed=3)
    if shared:
        given[0, ..., 2] = float("-inf")
    firsts = torch.tensor([0, used // 2, used - 1])
    own = q.double() @ keys[:, :, :used].double().transpose(2, 3)
    unseen = torch.arange(used) < firsts[:, None, None, None]
    scores = torch.cat([given.double(), own.masked_fill(unseen, float("-inf"))], -1)
    chances = scores.softmax(-1)
    made = calls.written(q, keys, values, given if shared else None, firsts, used)
    expected = chances[..., shared:] @ values[:, :, :used].double()
    assert_near(made, expected, dtype)
    if shared:
        assert_near(given, chances[..., :shared], dtype)
    with pytest.raises(ValueError, match="for 12"):
        calls.written(q, keys, values, None, firsts, 12)
    with pytest.raises(ValueError, match="keys"):
        calls.written(q[:2], keys, values, None, firsts, used)


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


def test_labels_that_do_not_fit_are_refused() -> None:
    for wrong in (4, -100):
        with pytest.raises(IndexError, match=f"a label is {wrong}; there are 4 words"):
            calls.cross_entropy(drawn(2, 4), torch.tensor([1, wrong]), learning=True)
    with pytest.raises(ValueError, match="1 labels for 2 rows"):
        calls.cross_entropy(drawn(2, 4), torch.tensor([1]), learning=True)
    with pytest.raises(ValueError, match="one after another"):
        calls.cross_entropy(drawn(2, 4)[:, :3], torch.tensor([1, 2]), learning=True)
    short = calls.cross_entropy(
        drawn(2, 4), torch.tensor([1, 2], dtype=torch.int32), learning=False
    )
    assert short == calls.cross_entropy(drawn(2, 4), torch.tensor([1, 2]), learning=False)


def test_heads_of_which_a_part_is_turned_are_refused() -> None:
    turn = drawn(5, 2), drawn(5, 2)
    with pytest.raises(ValueError, match=r"\(5, 4\) numbers are turned by \(5, 2\)"):
        calls.laid_out(drawn(5, 2, 4), 2, turn, 1.0)


@pytest.mark.parametrize("architecture", ["glm", "llama"])  # the first turns a part
def test_lean_blocks_are_used_where_all_of_a_head_is_turned(architecture: str) -> None:
    network = tiny_models.network(architecture)
    assert use_packed_attention(network)
    use_plain_head(network, torch.arange(3, 20))
    assert use_lean_blocks(network) is (architecture == "llama")


@pytest.mark.parametrize("named", [torch.bfloat16, torch.float64])
def test_what_torch_makes_where_nothing_is_said_does_not_matter(named: torch.dtype) -> None:
    x, weight, right = drawn(64, 512), drawn(512), torch.arange(64)
    scores, unseen = drawn(1, 64, 512), torch.tensor([0])
    q, k, v = (drawn(2, 40, 8, seed=seed).requires_grad_() for seed in range(3))

    def all_of_it() -> list[torch.Tensor]:
        chances, logits = scores.clone(), x.clone()
        calls.chances(chances, unseen, 64, 400, None)
        calls.cross_entropy(logits, right, learning=True)
        seen = blocked_attention(q, k, v, [Span(0, 40)], 0.3)
        made = torch.autograd.grad(seen.square().sum(), (q, k, v))
        return [*calls.norm(x, weight, 1e-5), chances, logits, *made]

    expected = all_of_it()
    try:
        torch.set_default_dtype(named)
        assert all(map(torch.equal, all_of_it(), expected))
    finally:
        torch.set_default_dtype(torch.float32)


def test_under_autocast_attention_is_that_of_the_smaller_numbers() -> None:
    q, k, v = (drawn(2, 40, 8, seed=seed) for seed in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        found = blocked_attention(q, k, v, [Span(0, 40)], 0.3)
    expected = blocked_attention(q.double(), k.double(), v.double(), [Span(0, 40)], 0.3)
    assert found.dtype is torch.bfloat16
    assert_near(found, expected, torch.bfloat16)


@kinds_of_number
def test_what_is_no_number_is_handed_on(dtype: torch.dtype) -> None:
    x = drawn(3, 8, dtype=dtype)
    x[1, 2] = float("nan")
    y, scale = calls.norm(x, torch.ones(8, dtype=dtype), 1e-5)
    assert y[1].isnan().all()
    assert scale.isnan().flatten().tolist() == [False, True, False]
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


@pytest.mark.parametrize("part", [0.0, 0.3, 0.5, 0.95])
def test_a_file_that_is_no_longer_whole_is_made_again(anew: Path, part: float) -> None:
    compiled.library()
    [made] = anew.iterdir()
    whole = made.read_bytes()
    made.unlink()  # the loaded one stays as it is
    made.write_bytes(whole[: int(part * len(whole))])
    compiled.library.cache_clear()
    assert compiled.library() is not None
    assert [path.read_bytes() for path in anew.iterdir()] == [whole]


@pytest.mark.parametrize("which", ["kernels", "sartor", "cache"])
def test_where_others_may_write_nothing_is_kept(anew: Path, which: str) -> None:
    anew.mkdir(parents=True)
    next(path for path in (anew, *anew.parents) if path.name == which).chmod(0o777)
    assert compiled.library() is not None
    assert not list(anew.iterdir())


def test_without_a_home_it_is_made_for_this_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "expanduser", nobody)
    compiled.library.cache_clear()
    assert compiled.library() is not None
    assert not list(tmp_path.iterdir())


def test_the_trial_runs_nothing_from_this_folder(
    anew: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ctypes.py").write_text("open('executed', 'w')")
    monkeypatch.chdir(tmp_path)
    assert compiled.library() is not None
    assert list(anew.iterdir())
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("spaced", [False, True])
def test_cc_names_a_compiler_and_its_arguments(
    spaced: bool, anew: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / ("my cc" if spaced else "my-cc")
    compiler.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/told\nexec cc "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler) if spaced else f"{compiler} -O1")
    assert compiled.library() is not None
    told = (tmp_path / "told").read_text().split()
    assert told == (["--version", "-O3"] if spaced else ["-O1", "-O1"])
    assert list(anew.iterdir())


def test_without_a_compiler_torch_does_it(anew: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "")
    heard = Heard()
    with shown_by(heard):
        assert compiled.library() is None
    assert not calls.fits(drawn(2))
    assert not heard.said
    assert not anew.exists()


@pytest.mark.parametrize("named", ["/nowhere/gcc", "gcc 'half"])
def test_a_compiler_that_is_not_there_is_said_once(
    named: str, anew: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", named)
    heard = Heard()
    with shown_by(heard):
        assert not calls.fits(drawn(2))
        assert not calls.fits(drawn(2))
    [said] = heard.said
    assert f"CC names {named!r}, which is not there" in said


BROKEN = {
    "echo 'kernels.c:1: error: no space left' >&2; echo 'ld returned 1' >&2; exit 1": "no space",
    "for last; do :; done; : > made; cp made \"$(echo $* | sed 's/.*-o //; s/ .*//')\"": "not run",
    "sleep 9": "longer than 1 seconds",
    "exit 3": "it ended with 3",
}


@pytest.mark.parametrize(("script", "reason"), BROKEN.items())
def test_a_compiler_that_fails_is_said_once(
    script: str, reason: str, anew: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text(f"#!/bin/sh\n[ $# -gt 1 ] || exit 0\n{script}\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setattr(compiled, "SECONDS", 1)
    monkeypatch.chdir(tmp_path)
    heard = Heard()
    with shown_by(heard):
        assert not calls.fits(drawn(2))
        assert not calls.fits(drawn(2))
    [said] = heard.said
    assert "could not compile" in said
    assert reason in said
    assert not list(anew.iterdir())
