"""Whether a network gives token by token what it gives at once, as generating and training need.

Tried on a few tokens where a network brings an attention of its own or a running state: some take
other inputs, give other outputs, or keep a cache that only their own `generate` can go on from.
"""

from __future__ import annotations

import inspect
from typing import Any

from sartor.errors import ModelError
from sartor.models.language_model import ModelCard
from sartor.models.libraries import reason
from sartor.models.memory import ran_out

TRIED = (5, 3, 4, 6)
FAR = 0.5
"""Mean difference of the logits, in parts of their mean size, that no rounding explains."""
INSTEAD = "Give a causal language model such as Llama, Qwen, Mistral, Gemma or GPT-2."


def refuse_unable(card: ModelCard, network: Any) -> None:
    """ModelError unless it does; networks on transformers' own attention are believed, but for
    encoders, and for whether they can be run at all."""
    import torch

    refuse_looking_ahead(card, network)
    _refuse_counted_from_padding(card, network)
    ids = torch.tensor([TRIED], device=network.device)
    usual = getattr(network, "_supports_attention_backend", False)
    if usual and not getattr(network, "_is_stateful", False):
        _refuse_broken(card, network, ids)
        return
    try:
        with torch.inference_mode():
            whole = network(input_ids=ids, use_cache=False).logits[0, -1].float()
            kept = network(input_ids=ids[:, :-1], use_cache=True).past_key_values
            next_one = {"attention_mask": torch.ones_like(ids), "past_key_values": kept}
            last = network(input_ids=ids[:, -1:], use_cache=True, **next_one).logits[0, -1].float()
            same = bool((whole - last).abs().mean() <= FAR * whole.abs().mean())
            found = "it gives other tokens one by one than at once"
    except Exception as error:  # whatever its code raises
        if ran_out(error):  # says nothing of the network
            raise
        same, found = False, reason(error)
    if not same:
        raise ModelError(
            f"base {card.name!r}: a {type(network).__name__} cannot be run token by token "
            f"({found.rstrip('.')}), which sartor needs to generate. Give a transformer such as "
            "Llama, Qwen, Mistral, Gemma or GPT-2."
        )


def _refuse_broken(card: ModelCard, network: Any, ids: Any) -> None:
    """ModelError where some tokens cannot be put through at all: the sizes in its configuration do
    not go together, and transformers only notices now; or where no number comes out."""
    import torch

    try:
        with torch.inference_mode():
            logits = network(input_ids=ids, use_cache=False).logits
    except Exception as error:  # whatever its code raises
        if ran_out(error):
            raise
        raise ModelError(
            f"base {card.name!r}: a {type(network).__name__} of its configuration loads, and "
            f"cannot be run: {reason(error).rstrip('.')}. Compare config.json with its "
            "publisher's, copy or download it again, or give another base."
        ) from error
    if logits.isnan().all():
        raise ModelError(
            f"base {card.name!r}: nothing that it gives for a few tokens is a number (all nan): "
            "its weights are broken. Fetch or convert them again, or choose another base."
        )


def refuse_looking_ahead(card: ModelCard, network: Any) -> None:
    """ModelError for an encoder, such as BERT: its attentions see what comes after, too."""
    told = [bool(m.is_causal) for m in network.modules() if hasattr(m, "is_causal")]
    if told and not any(told):
        raise ModelError(
            f"base {card.name!r}: a {type(network).__name__} is an encoder, whose tokens see what "
            f"comes after them, and cannot write text. {INSTEAD}"
        )


def _refuse_counted_from_padding(card: ModelCard, network: Any) -> None:
    """ModelError for RoBERTa's kin, whose first position is the one after their padding token's
    number: transformers counts so where it reads a text, and from 0 where it writes one."""
    import torch

    takes = "position_ids" in inspect.signature(network.forward).parameters
    counted = [
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Embedding)
        and module.padding_idx is not None
        and "position" in name.rpartition(".")[2]
    ]
    if takes and counted:
        raise ModelError(
            f"base {card.name!r}: a {type(network).__name__} counts positions from its padding "
            "token's number when it reads, and from 0 when it writes, so what is trained would "
            f"not be what answers. {INSTEAD}"
        )
