"""Counting the bytes of tensors that are there at once."""

from __future__ import annotations

import torch

from sartor.techniques.estimating.allocated import Allocated

MEGABYTE = 1_000_000


def test_tensors_count_while_they_are_there_and_views_do_not() -> None:
    with Allocated() as counted:
        one = torch.zeros(500, 500)  # 1 MB in float32
        view = one.t()[:10]
        two = one + 1
        assert counted.now == 2 * MEGABYTE
        del two, view
        assert counted.now == MEGABYTE
        del one
    assert (counted.now, counted.peak) == (0, 2 * MEGABYTE)


def test_what_is_kept_for_the_way_back_counts_until_it_is_used() -> None:
    weight = torch.nn.Parameter(torch.zeros(500, 500))
    with Allocated() as counted:
        kept = (torch.ones(500, 500) @ weight).exp()
        assert counted.now == 3 * MEGABYTE  # the input, the weight, and the exponential
        kept.sum().backward()  # type: ignore[no-untyped-call]
        del kept
    assert counted.peak >= 4 * MEGABYTE  # with the gradient
    assert weight.grad is not None
