"""A decoder of Llama's build run layer by layer: the same logits for less work around its products.

The network's own modules are called where they hold weights; what goes on between them is done
here, without masks, caches and output classes that a row has no use for. The last layer is put
through at the places whose logits are asked for alone: of the others it gives keys and values. An
architecture that does something else under the same names is found out on random tokens, spread
over the whole context, and keeps its own forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sartor.kernels import calls
from sartor.models.norms import Norms
from sartor.models.packed_queries import Heads
from sartor.models.packed_reading import Reading
from sartor.models.packed_writing import Writing
from sartor.models.products import Products
from sartor.models.rotary import turned

OF_MODEL = {"embed_tokens", "layers", "norm", "rotary_emb"}
OF_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
OF_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
OF_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}
SILU = {"SiLU", "SiLUActivation"}
CLIPPED = "clip_qkv"
"""What bounds large queries, keys and values is not seen in small ones (OLMo)."""
PER_HEAD = {"q_norm", "k_norm"}
"""Norms of every head's queries and keys, where an architecture has them."""


def is_built_like_llama(network: Any) -> bool:
    """Whether its modules are those that `lean_logits` calls, and nobody looks into the others."""
    model = getattr(network, "model", None)
    if not hasattr(network, "lm_head") or not isinstance(model, torch.nn.Module):
        return False
    if getattr(network.config, CLIPPED, None) is not None:
        return False
    if _parts(network) != {"model", "lm_head"} or _parts(model) != OF_MODEL:
        return False
    layers: Any = model.layers
    return all(
        _parts(layer) == OF_LAYER
        and _parts(layer.self_attn) in (OF_ATTENTION, OF_ATTENTION | PER_HEAD)
        and not _is_watched(layer)
        and not _is_watched(layer.self_attn)
        for layer in layers
    )


def _parts(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()}


def _is_watched(module: Any) -> bool:
    """Whether something hangs on the module's forward, or has replaced it."""
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return any(map(bool, hooks)) or "forward" in vars(module)


def lean_logits(
    network: Any,
    inputs: dict[str, torch.Tensor],
    positions: torch.Tensor,
    row: Reading | Writing,
    kept: Sequence[int] | None,
    heads: Sequence[Heads],
    products: Products,
    norms: Norms,
) -> torch.Tensor:
    """Of the places `kept`, or of all: (kept, vocabulary); `heads` by layer, `positions` (places,).

    Raises TypeError, ValueError, RuntimeError or AttributeError where the build is another.
    """
    model = network.model
    hidden = inputs.get("inputs_embeds")
    if hidden is None:
        hidden = model.embed_tokens(inputs["input_ids"])  # (1, places, hidden)
    cosines, sines = model.rotary_emb(hidden, position_ids=positions[None])
    turn = cosines[0][:, None], sines[0][:, None]  # (places, 1, width)
    places = None if kept is None else torch.tensor(kept, device=hidden.device)
    *lower, last = model.layers
    for number, layer in enumerate(lower):
        hidden = _through(layer, hidden, turn, row, number, heads[number], None, products, norms)
    hidden = _through(last, hidden, turn, row, len(lower), heads[-1], places, products, norms)
    return products(network.lm_head, norms(model.norm, hidden))[0]


def _through(
    layer: Any, hidden: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor],
    row: Reading | Writing, number: int, heads: Heads, kept: torch.Tensor | None,
    products: Products, norms: Norms,
) -> torch.Tensor:  # fmt: skip
    """One layer, at all places or at those kept: (1, places, hidden)."""
    attention = layer.self_attn
    normed = norms(layer.input_layernorm, hidden)
    key = turned(by_head(attention, "k", normed, products), *turn)
    value = by_head(attention, "v", normed, products)
    if kept is not None:
        hidden, normed = hidden[:, kept], normed[:, kept]
        turn = turn[0][kept], turn[1][kept]
    query = turned(by_head(attention, "q", normed, products), *turn)
    rows = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
    if kept is not None and isinstance(row, Reading):
        seen = row.attend_last(number, *rows, heads)
    else:
        seen = row.attend(number, *rows, heads)  # (places, heads, width)
    hidden = products(attention.o_proj, seen.flatten(1)[None]).add_(hidden)
    return _mlp(layer.mlp, norms(layer.post_attention_layernorm, hidden), products).add_(hidden)


def _mlp(mlp: Any, normed: torch.Tensor, products: Products) -> torch.Tensor:
    """(1, places, hidden)."""
    if _parts(mlp) != OF_MLP or _is_watched(mlp):
        made: torch.Tensor = mlp(normed)
        return made
    gate, up = products(mlp.gate_proj, normed), products(mlp.up_proj, normed)
    if type(mlp.act_fn).__name__ in SILU and gate.shape == up.shape and calls.fits(gate, up):
        return products(mlp.down_proj, calls.gated(gate, up))
    return products(mlp.down_proj, mlp.act_fn(gate).mul_(up))


def by_head(
    attention: Any, kind: str, normed: torch.Tensor,
    products: Callable[[Any, torch.Tensor], torch.Tensor],
) -> torch.Tensor:  # fmt: skip
    """Queries, keys or values ("q", "k", "v") of a row: (places, heads, width); `products` gives
    what a linear layer makes of it."""
    flat = products(getattr(attention, f"{kind}_proj"), normed)[0]
    parted = flat.view(len(flat), -1, attention.head_dim)
    norm: Any = getattr(attention, f"{kind}_norm", None)
    return parted if norm is None else norm(parted)
