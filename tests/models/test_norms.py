"""Which norms are computed in one go, and that the others compute themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests import tiny_models

from sartor.kernels import calls
from sartor.models.norms import Norms


class Bounded(torch.nn.Module):
    """As Llama's on small numbers."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.variance_epsilon, self.norm = norm.weight, norm.variance_epsilon, norm

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.norm(rows.clamp(-100, 100))
        return made


class BoundedRMSNorm(Bounded):
    pass


class AddedRMSNorm(Bounded):
    """Its weight is counted from one, as Gemma's."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.norm(rows) + self.norm(rows) / self.weight
        return made


def hooked(norm: Any) -> Any:
    norm.register_forward_hook(lambda *given: given[-1] * 2)
    return norm


@pytest.mark.parametrize(
    ("made", "compiled"),
    [(lambda norm: norm, True), (hooked, False), (BoundedRMSNorm, False), (AddedRMSNorm, False)],
)
def test_a_norm_that_is_something_else_computes_itself(
    made: Callable[[Any], Any], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not calls.fits(torch.empty(1)):
        pytest.skip("no C compiler (cc, gcc or clang) here")
    norm = made(tiny_models.network("llama").model.layers[0].input_layernorm)
    rows = 300 * torch.randn(3, len(norm.weight))
    expected, norms = norm(rows), Norms()
    torch.testing.assert_close(norms(norm, rows), expected)
    asked = 0

    def counted(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        return given[0], None

    monkeypatch.setattr(calls, "norm", counted)
    norms(norm, rows)
    assert (asked > 0) is compiled
