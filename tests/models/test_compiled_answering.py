"""Answers where attention, norms and gates are compiled, against the same by torch's operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.models.test_generation import few_shot_and_passages, together

from sartor.kernels import attention, calls, products
from sartor.models import packed_forward, packed_generation, packed_likelihood
from sartor.models.packed_likelihood import packed_logits

ARCHITECTURES = ["llama", "mistral", "qwen3", "gemma2", "gpt2"]
"""Plain, with a window, with norms of heads, with bounded scores; and another build."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if not calls.fits(torch.empty(1)):
        pytest.skip("no C compiler (cc, gcc or clang) here")
    yield
    torch.set_num_threads(before)


def read(network: Any, prompts: Sequence[list[int]]) -> torch.Tensor:
    """Logits of answers of one to four tokens: (all tokens, vocabulary)."""
    assert packed_forward.runs_rows(network)
    answers = [[[7, 9, 11, 13][: 1 + number % 4]] for number in range(len(prompts))]
    with torch.inference_mode():
        found = {p: logits for p, _, logits in packed_logits(network, prompts, answers, None)}
    return torch.cat([found[number] for number in range(len(prompts))]).double()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("row_tokens", [40, 10_000])
def test_what_is_read_in_bfloat16_is_as_near_as_torch_comes(
    architecture: str, row_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short row has prompts begin with what was read in an earlier one."""
    if not products.fits(torch.empty(1, dtype=torch.bfloat16)):
        pytest.skip("this processor does not multiply bfloat16")
    monkeypatch.setattr(packed_likelihood, "ROW_TOKENS", row_tokens)
    prompts = few_shot_and_passages()
    exact = read(tiny_models.network(architecture), prompts)
    attended, asked = attention.attended, 0

    def counted(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        return attended(*given)

    monkeypatch.setattr(attention, "attended", counted)
    compiled = read(tiny_models.network(architecture).bfloat16(), prompts)
    assert (asked > 0) is (architecture != "gemma2")
    monkeypatch.setattr(calls, "fits", lambda *_: False)
    by_torch = read(tiny_models.network(architecture).bfloat16(), prompts)
    assert not torch.equal(compiled, by_torch) or architecture == "gemma2"
    errors = [float((found - exact).norm() / exact.norm()) for found in (compiled, by_torch)]
    assert errors[0] <= 1.2 * errors[1] + 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_tokens", [200, 10_000])
def test_answers_are_the_same_without_a_compiler(
    architecture: str, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = few_shot_and_passages()
    written, asked = calls.written, 0

    def counted(*given: Any) -> torch.Tensor:
        nonlocal asked
        asked += 1
        return written(*given)

    monkeypatch.setattr(calls, "written", counted)
    options = {"batch_tokens": batch_tokens, "max_new_tokens": 40}
    compiled = together(tiny_models.network(architecture), prompts, **options)
    assert (asked > 0) is (architecture != "gemma2")
    monkeypatch.setattr(calls, "fits", lambda *_: False)
    assert together(tiny_models.network(architecture), prompts, **options) == compiled


def test_what_was_laid_out_compiled_can_be_written_on_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads may be set while answers are written."""
    prompts = few_shot_and_passages()
    expected = together(tiny_models.network("llama"), prompts)
    write, fits, tokens = packed_generation._Held.write, calls.fits, 0

    def in_turn(held: Any) -> Any:
        nonlocal tokens
        tokens += 1
        monkeypatch.setattr(calls, "fits", fits if tokens % 3 else lambda *_: False)
        return write(held)

    monkeypatch.setattr(packed_generation._Held, "write", in_turn)
    assert together(tiny_models.network("llama"), prompts) == expected
    assert tokens > 5
