"""Examples as a right-padded batch, for models that run no packs, or one by one.

What stands after an example must not change what the model makes of it: that is tried, and models
that see it get each example alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sartor.models.prefix import Prefix
from sartor.training.sharing import Sequenced

if TYPE_CHECKING:
    import torch

ALONE = "_sartor_goes_alone"
TRIED = ((9, 8, 7, 3, 5, 4), (9, 8))
FAR = 1e-2
"""Mean difference of the logits, in parts of their mean size, that no rounding explains."""


def goes_alone(network: Any) -> bool:
    """Whether `try_padding` found that the model sees what stands after an example."""
    return bool(getattr(network, ALONE, False))


def try_padding(network: Any) -> None:
    """Find out whether the model sees it, on a few tokens."""
    import torch

    with torch.no_grad():
        long, short = (torch.tensor(tokens, device=network.device) for tokens in TRIED)
        rows = torch.nn.utils.rnn.pad_sequence([long, short], batch_first=True)
        mask = (torch.arange(len(long), device=network.device) < len(short)).long()
        given = {"attention_mask": torch.stack([torch.ones_like(mask), mask]), "use_cache": False}
        beside = network(input_ids=rows, **given).logits[1, : len(short)].float()
        alone = network(input_ids=short[None], use_cache=False).logits[0].float()
    setattr(network, ALONE, bool((beside - alone).abs().mean() > FAR * alone.abs().mean()))


def padded(
    network: Any, pack: Sequence[Sequenced], virtual: torch.Tensor | Prefix | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(logits that give the next tokens of answers, those tokens), an example after another."""
    import torch

    rows = [torch.tensor(example.tokens, device=network.device) for example in pack]
    name = "input_ids"
    given: dict[str, Any] = {"use_cache": False}
    if isinstance(virtual, Prefix):
        given = {"past_key_values": virtual.cache(network, len(rows)), "use_cache": True}
    elif virtual is not None:
        name, embed = "inputs_embeds", network.get_input_embeddings()
        embedded = embed(torch.cat(rows)).split([len(row) for row in rows])
        virtual = virtual.to(embedded[0].dtype)
        rows = [torch.cat([virtual, row]) for row in embedded]  # (tokens, hidden)
    inputs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (examples, longest, ...)
    lengths = torch.tensor([len(row) for row in rows], device=network.device)
    mask = torch.arange(inputs.shape[1], device=network.device) < lengths[:, None]
    extra = 0 if virtual is None else len(virtual)
    if isinstance(virtual, Prefix):
        mask = torch.cat([mask.new_ones(len(rows), extra), mask], 1)
        extra = 0  # what stands before is not in the row
    logits = network(**{name: inputs}, attention_mask=mask.long(), **given).logits
    kept = [
        logits[row, extra + example.prompt - 1 : len(rows[row]) - 1]
        for row, example in enumerate(pack)
    ]
    labels = [token for example in pack for token in example.tokens[example.prompt :]]
    return torch.cat(kept), torch.tensor(labels, device=network.device)
