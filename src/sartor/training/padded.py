"""Examples as a right-padded batch, for models that run no packs, or one by one.

What stands after an example must not change what the model makes of it; models that see it get each
example alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sartor.models.prefix import Prefix
from sartor.training.sharing import Sequenced

if TYPE_CHECKING:
    import torch

ALONE = "_sartor_goes_alone"
"""Where packed_attention.py has noted that a model sees it."""


def goes_alone(network: Any) -> bool:
    """Whether the model was found to see what stands after an example."""
    return bool(getattr(network, ALONE, False))


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
