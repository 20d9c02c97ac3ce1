"""Log-probabilities of whole answers, with gradients: what preferences are trained on.

As in head.py the logits are there only some at a time; here the gradient is known when the loss has
been made of all answers, so the way back makes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.training.head import LOGITS
from sartor.training.packing import Encoded, before_loss

if TYPE_CHECKING:
    from sartor.models.prefix import Prefix


def answer_log_chances(
    network: Any, answers: Sequence[Encoded], virtual: torch.Tensor | Prefix | None = None
) -> torch.Tensor:
    """The summed log-probability of each answer after its prompt: (answers,), float32.

    Answers to one request share it, forward and back, where the model runs packs.
    """
    found, labels, is_hidden, order = before_loss(network, answers, virtual)
    lengths = [len(answers[place].tokens) - answers[place].prompt for place in order]
    owner = torch.tensor(list(order), device=labels.device).repeat_interleave(
        torch.tensor(lengths, device=labels.device)
    )
    if is_hidden:
        head = network.get_output_embeddings()
        each = _LogChances.apply(found, head.weight, head.bias, labels)  # type: ignore[no-untyped-call]
    else:
        each = functional.log_softmax(found.float(), -1).gather(1, labels[:, None])[:, 0]
    summed: torch.Tensor = each.new_zeros(len(answers)).index_add(0, owner, each)
    return summed


class _LogChances(torch.autograd.Function):
    """Of each label (answer tokens,) after hidden (answer tokens, width), by a linear head."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, labels: Any) -> torch.Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        made: torch.Tensor = hidden.new_empty(len(hidden), dtype=torch.float32)
        for part in _parts(hidden, weight):
            log_chances = _log_chances(hidden[part], weight, bias, dtype)
            made[part] = log_chances.gather(1, labels[part, None])[:, 0]
        ctx.save_for_backward(hidden, weight, bias, labels)
        ctx.dtype = dtype
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        hidden, weight, bias, labels = ctx.saved_tensors
        [given] = gradients
        wanted = zip((hidden, weight, bias), ctx.needs_input_grad[:3], strict=True)
        d_hidden, d_weight, d_bias = [
            torch.zeros_like(tensor) if needed else None for tensor, needed in wanted
        ]
        for part in _parts(hidden, weight):
            chances = _log_chances(hidden[part], weight, bias, ctx.dtype).exp_()
            right = labels[part, None]
            d_logits = chances.neg_().scatter_add_(1, right, torch.ones_like(right).float())
            d_logits *= given[part, None]
            if d_bias is not None:
                d_bias += d_logits.sum(0).to(d_bias.dtype)
            d_logits = d_logits.to(ctx.dtype)
            if d_hidden is not None:
                d_hidden[part] = (d_logits @ weight.to(ctx.dtype)).to(hidden.dtype)
            if d_weight is not None:
                d_weight += (d_logits.t() @ hidden[part].to(ctx.dtype)).to(weight.dtype)
        return d_hidden, d_weight, d_bias, None


def _parts(hidden: torch.Tensor, weight: torch.Tensor) -> list[slice]:
    step = max(16, LOGITS // len(weight))
    return [slice(start, start + step) for start in range(0, len(hidden), step)]


def _log_chances(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """(rows, vocabulary) in float32."""
    offset = None if bias is None else bias.to(dtype)
    logits = functional.linear(rows.to(dtype), weight.to(dtype), offset).float()
    return logits.sub_(logits.logsumexp(-1, keepdim=True))
