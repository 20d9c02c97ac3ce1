"""Blocks of Llama's build run with less around their products, and the last one only where it is
asked.

Queries and keys are turned by their positions while they are laid out for attention, sums are made
in place, and of the last block only scored places are put through: the others give keys and values
there. Everything that holds weights is the network's own modules. An architecture that does
something else under the same names is found out on a few tokens, spread over the whole context, and
keeps its own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sartor.models.base_card import context
from sartor.models.in_float32 import as_near, computes_in, runs_itself, tried
from sartor.models.lean_forward import by_head, is_built_like_llama
from sartor.training import answers_only, head
from sartor.training.attention_blocks import asking, every
from sartor.training.blocked_attention import turned_attention
from sartor.training.dropping import drops
from sartor.training.packed_attention import Asked, noting
from sartor.training.sharing import Span

SPANS = (Span(0, 3), Span(3, 6, ((0, 3),)), Span(6, 11, ((0, 3),)))
"""What the blocks are tried on: two examples that begin alike."""
PLACES = (4, 5, 9, 10)
"""Of them, those that are scored."""


def use_lean_blocks(network: Any) -> bool:
    """Have the blocks run so, on a CPU, where what they give stays the same; says whether."""
    if getattr(network, answers_only.NARROWED, False):
        return True
    if network.device.type != "cpu" or not head.is_plain(network):
        return False
    if not is_built_like_llama(network):
        return False
    if drops(part for layer in network.model.layers for part in (layer, layer.self_attn)):
        return False
    if not tried(network, lambda: _switched(network)):
        return False
    if runs_itself(network, lambda: _scored(network)):
        return True
    _undo(network)
    return False


def _switched(network: Any) -> bool:
    asked: dict[int, Asked] = {}
    with torch.no_grad(), noting(asked):
        whole = _hidden(network)[list(PLACES)].float()
    layers = list(network.model.layers)
    if len(asked) != len(layers) or any(a.softcap or a.others for a in asked.values()):
        return False
    for number, layer in enumerate(layers):
        layer.forward = _lean(layer, asked[number], last=number == len(layers) - 1)
    setattr(network, answers_only.NARROWED, True)
    try:
        part = _scored(network).float()
    except answers_only.UNFIT:
        part = torch.full_like(whole, torch.inf)
    if part.shape == whole.shape and as_near(part, whole, computes_in(network), answers_only.MOST):
        return True
    _undo(network)
    return False


def _scored(network: Any) -> torch.Tensor:
    """What the blocks give of the scored places alone."""
    with torch.no_grad(), answers_only.scoring(network, torch.tensor(PLACES)):
        return _hidden(network)


def _undo(network: Any) -> None:
    for layer in network.model.layers:
        del layer.forward
    setattr(network, answers_only.NARROWED, False)


def _hidden(network: Any) -> torch.Tensor:
    """What the decoder gives of `SPANS`, at positions over all of the context: (tokens, width)."""
    ids = torch.arange(3, 3 + SPANS[-1].end)[None]
    far = torch.linspace(0, context(network.config) - 1, ids.shape[1]).long()
    given: torch.Tensor = network.get_decoder()(
        input_ids=ids, position_ids=far[None], use_cache=False, spans=SPANS
    )[0][0]
    return given


def _lean(layer: Any, asked: Asked, *, last: bool) -> Any:
    """The layer's forward: hidden states (1, tokens, width), of scored places alone in the `last`
    where they are named."""
    attention = layer.self_attn

    def forward(
        hidden: torch.Tensor,
        *_: Any,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        spans: Sequence[Span] | None = None,
        **__: Any,
    ) -> torch.Tensor:
        places = answers_only.scored_places() if last else None
        spans = spans or (Span(0, hidden.shape[1]),)
        normed = layer.input_layernorm(hidden)
        key = by_head(attention, "k", normed, _put_through)
        value = by_head(attention, "v", normed, _put_through)
        if places is None:
            runs = every(spans)
        else:
            runs = asking(spans, places.tolist())
            hidden, normed = (t.index_select(1, places) for t in (hidden, normed))
        query = by_head(attention, "q", normed, _put_through)
        cosines, sines = (t[0].to(query.dtype) for t in position_embeddings)
        seen = turned_attention(
            query, key, value, (cosines, sines), runs, asked.scaling, asked.window
        )
        hidden = attention.o_proj(seen.flatten(2)).add_(hidden)
        added: torch.Tensor = layer.mlp(layer.post_attention_layernorm(hidden)).add_(hidden)
        return added

    return forward


def _put_through(layer: Any, rows: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = layer(rows)
    return made
