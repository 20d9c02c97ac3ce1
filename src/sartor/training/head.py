"""The loss over a vocabulary, some answer tokens at a time: logits are never all there at once.

For models whose logits are a linear map of what their decoder gives, and nothing after it: that is
tried on a few tokens before it is believed, since some scale their logits or bound them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.kernels import calls
from sartor.kernels.products import product, summed
from sartor.training.pieces import pieces

LOGITS = 1 << 22
"""At once. On a CPU each takes the bytes that the products are computed in, elsewhere four more."""
CACHED = 1 << 18
"""Of them in float32 at a time, on a CPU, for each thread."""
GATHERED = 1 << 25
"""Gradients of logits, two or four bytes each, that wait for one product with all their rows: the
gradient of a trained head is as large as the head, and made for a few rows at a time it takes
longer than all else."""
PLAIN = "_sartor_plain_head"
BOUNDED = "final_logit_softcapping"
"""What bounds large logits is not seen in small ones (Gemma)."""


def is_plain(network: Any) -> bool:
    """Whether `use_plain_head` found the model's logits to be a linear map."""
    return bool(getattr(network, PLAIN, False))


def use_plain_head(network: Any, tokens: torch.Tensor) -> bool:
    """Try the map on `tokens` (tokens,); says whether the model's logits are what it gives."""
    head = network.get_output_embeddings()
    config = network.config.get_text_config(decoder=True)
    if type(head) is not torch.nn.Linear or getattr(config, BOUNDED, None):
        return False
    try:
        with torch.no_grad():
            expected = network(input_ids=tokens[None], use_cache=False).logits[0]
            hidden = network.get_decoder()(input_ids=tokens[None], use_cache=False)[0][0]
            found = head(hidden)
    except (AttributeError, TypeError, ValueError, RuntimeError):  # it is built in another way
        return False
    setattr(network, PLAIN, torch.equal(found, expected))
    return is_plain(network)


def summed_loss(hidden: torch.Tensor, head: torch.nn.Linear, labels: torch.Tensor) -> torch.Tensor:
    """The sum of the cross-entropy; hidden (answer tokens, width), labels (answer tokens)."""
    result: torch.Tensor = _Summed.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, labels, torch.is_grad_enabled()
    )
    return result


class _Summed(torch.autograd.Function):
    """Gradients are made on the way forward, while the logits are there."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Any, weight: Any, bias: Any, labels: Any, learning: bool
    ) -> torch.Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        wanted = [learning and needed for needed in ctx.needs_input_grad[:3]]
        given = zip((hidden, weight, bias), wanted, strict=True)
        made = [torch.zeros_like(tensor) if needed else None for tensor, needed in given]
        d_hidden, d_weight, d_bias = made
        d_bias = None if d_bias is None else d_bias.float()  # small numbers are added to large ones
        rows, kernel = hidden.to(dtype), weight.to(dtype)
        offset = None if bias is None else bias.to(dtype)
        total = torch.zeros((), device=hidden.device)
        step = max(16, LOGITS // len(weight))
        waiting: list[torch.Tensor] = []
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            logits = _logits(rows[part], kernel, offset)
            total += _cross_entropy(logits, labels[part, None], learning=any(wanted))
            if not any(wanted):
                continue
            d_logits = logits  # it has written over them
            if d_bias is not None:
                d_bias += d_logits.sum(0, dtype=torch.float32)
            if d_hidden is not None:
                summed([(d_logits, kernel)], d_hidden[part])
            if d_weight is None:
                continue
            waiting.append(d_logits)
            count, end = sum(map(len, waiting)), start + len(d_logits)
            if end == len(rows) or count * len(weight) >= GATHERED:
                gathered = torch.cat(waiting) if len(waiting) > 1 else waiting[0]
                summed([(gathered.t(), rows[end - count : end])], d_weight, add=True)
                waiting.clear()
        made[2] = None if d_bias is None else d_bias.to(bias.dtype)
        ctx.made = made
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        [given] = gradients
        return *(None if made is None else made.mul_(given) for made in ctx.made), None, None


def _logits(rows: torch.Tensor, kernel: torch.Tensor, offset: torch.Tensor | None) -> torch.Tensor:
    """(rows, vocabulary)."""
    return product(rows, kernel.t()) if offset is None else functional.linear(rows, kernel, offset)


def _cross_entropy(logits: torch.Tensor, right: torch.Tensor, *, learning: bool) -> torch.Tensor:
    """The sum of these rows' losses; where `learning`, logits become their gradients.

    In float32 inside, a few rows at a time: all of them would be written to memory at each step.
    """
    if calls.fits(logits):
        return torch.tensor(calls.cross_entropy(logits, right, learning=learning))
    total = torch.zeros((), device=logits.device)
    for part in pieces(logits, CACHED):
        chances = logits[part].float()
        chances.sub_(chances.amax(-1, keepdim=True))
        total -= chances.gather(1, right[part]).sum()
        sums = chances.exp_().sum(-1, keepdim=True)
        total += sums.log().sum()
        if not learning:
            continue
        chances.div_(sums)
        one = torch.full_like(right[part], -1, dtype=chances.dtype)
        chances.scatter_add_(1, right[part], one)
        if chances.dtype != logits.dtype:
            logits[part] = chances
    return total
