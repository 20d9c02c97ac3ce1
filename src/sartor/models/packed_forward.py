"""A network run on a row of many prompts or answers, through an attention of our own.

The network's modules see one row; whoever made the row says what sees what. Whether a network gives
in a row what it gives alone is tried on a few tokens before it is believed: architectures differ in
what they hand to their attention. One of Llama's build is then run in fewer steps, if these give
the same (lean_forward.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sartor.models import base_card
from sartor.models.in_float32 import as_near, computes_in, runs_itself, tried
from sartor.models.lean_forward import is_built_like_llama, lean_logits
from sartor.models.norms import Norms
from sartor.models.packed_blocks import laid_out
from sartor.models.packed_queries import Heads
from sartor.models.packed_reading import Reading
from sartor.models.packed_writing import Writing
from sartor.models.prefix import Prefix
from sartor.models.prefix_tree import leaves
from sartor.models.products import Products
from sartor.models.rotary import changes_with_length
from sartor.models.told import UNFIT, attending, takes_ours, tells_all

ATTENTION = "sartor_rows"
TRIED = ([9, 8, 7, 3, 5, 4, 6, 8, 3, 5, 4], [9, 8, 7, 3, 5, 4, 6, 8, 9, 3], [3, 7, 4])
"""Prompts that a network is tried on: two that begin alike, and another."""
NEXT = (5, 6, 3)
"""What each is made to go on with."""
VERDICT, SHAPES = "_sartor_runs_rows", "_sartor_row_shapes"
LEAN = "_sartor_lean_heads"


def runs_rows(network: Any, virtual: torch.Tensor | Prefix | None = None) -> bool:
    """Whether the network gives in rows what it gives alone (tried once), behind a prefix too."""
    if not hasattr(network, VERDICT):
        setattr(
            network,
            VERDICT,
            _may(network)
            and tried(network, lambda: _same(network))
            and runs_itself(network, lambda: _tried(network)),
        )
        _lean_heads(network)
    if getattr(network, VERDICT) and isinstance(virtual, Prefix):
        kept = [(k.shape[1], k.shape[3], v.shape[3]) for k, v in virtual.layers]
        return bool(kept == getattr(network, SHAPES))  # some keep another thing than they attend to
    return bool(getattr(network, VERDICT))


class Forward:
    """A network that runs in rows, for as long as its weights stay."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.products = Products(network)
        self._norms = Norms()
        self._heads = _lean_heads(network)

    def logits(
        self, inputs: dict[str, torch.Tensor], row: Reading | Writing, kept: Sequence[int] | None
    ) -> torch.Tensor:
        """Of the places `kept`, or of all: (kept, vocabulary), float32."""
        network, positions = self.network, row.positions
        if not isinstance(positions, torch.Tensor):
            positions = torch.tensor(positions, device=network.device)
        if not self._heads:
            return _whole_logits(network, inputs, positions, row, kept)
        found = lean_logits(
            network, inputs, positions, row, kept, self._heads, self.products, self._norms
        )
        return found.float()


def _whole_logits(
    network: Any,
    inputs: dict[str, torch.Tensor],
    positions: torch.Tensor,
    row: Any,
    kept: Sequence[int] | None,
) -> torch.Tensor:
    """Through the network's own forward."""
    last = 0 if kept is None else torch.tensor(kept, device=network.device)
    with attending(network, ATTENTION, _attend):
        output = network(
            **inputs, position_ids=positions[None], use_cache=False, logits_to_keep=last, row=row
        )
    result: torch.Tensor = output.logits[0].float()
    return result


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    row: Reading | Writing | _Noting | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it: query (1, heads, places, width); (1, places, heads, width)."""
    if row is None:
        raise TypeError("the network hands nothing on to its attention")
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    heads = Heads(scaling, sliding_window, softcap, s_aux)
    return row.attend(module.layer_idx, query[0], key[0], value[0], heads)[None], None


def _may(network: Any) -> bool:
    config = network.config.get_text_config(decoder=True)
    return takes_ours(network) and not changes_with_length(config) and tells_all(network)


def _same(network: Any) -> bool:
    expected = []
    with torch.inference_mode():
        for prompt, token in zip(TRIED, NEXT, strict=True):
            ids = torch.tensor([[*prompt, token]], device=network.device)
            expected.append(network(input_ids=ids, use_cache=False).logits[0, -2:].float())
        try:
            found = _tried(network)
        except UNFIT:
            return False
    return as_near(found, torch.stack(expected), computes_in(network))  # (prompts, 2, vocabulary)


def _tried(network: Any) -> torch.Tensor:
    forward, made = Forward(network), leaves(TRIED)
    reading = Reading(made)
    first = forward.logits({"input_ids": _ids(network, reading.tokens)}, reading, reading.last)
    written = laid_out([reading])
    order = [leaf.row for block in written for leaf in block.leaves]
    pairs = [written[0].own(0, layer) for layer in range(len(written[0].keys))]
    setattr(network, SHAPES, [(len(k), k.shape[-1], v.shape[-1]) for k, v in pairs])
    for block in written:
        block.advance()
    writing = Writing(written, [len(TRIED[row]) for row in order], network.device)
    tokens = [NEXT[row] for row in order]
    second = forward.logits({"input_ids": _ids(network, tokens)}, writing, None)
    of_first = {leaf.row: first[i] for i, leaf in enumerate(made)}
    of_second = {row: second[i] for i, row in enumerate(order)}
    return torch.stack([torch.stack([of_first[r], of_second[r]]) for r in range(len(TRIED))])


class _Noting:
    """A row that keeps what each layer asks of its attention."""

    def __init__(self, row: Reading) -> None:
        self.row = row
        self.heads: list[Heads] = []

    def attend(self, layer: int, *states: Any) -> torch.Tensor:
        self.heads.append(states[-1])
        return self.row.attend(layer, *states)


def _lean_heads(network: Any) -> tuple[Heads, ...]:
    """What each layer asks of its attention, where a network that runs in rows gives the same by
    lean_forward.py; tried once. Empty where it does not."""
    if not getattr(network, VERDICT, False) or not is_built_like_llama(network):
        return ()
    if not hasattr(network, LEAN):
        with torch.inference_mode():
            found = tried(network, lambda: _tried_lean(network))
            runs = found and runs_itself(network, lambda: _run_lean(network, found))
            setattr(network, LEAN, found if runs else ())
    heads: tuple[Heads, ...] = getattr(network, LEAN)
    return heads


def _run_lean(network: Any, heads: tuple[Heads, ...]) -> None:
    """In the network's own numbers oneDNN's products are in it, which float32's hooks shut out."""
    row = Reading(leaves(TRIED))
    positions = torch.as_tensor(row.positions, device=network.device)
    given = {"input_ids": _ids(network, row.tokens)}
    own = Products(network), Norms()
    lean_logits(network, given, positions, row, row.last, heads, *own)


def _tried_lean(network: Any) -> tuple[Heads, ...]:
    """Positions are spread over the context: some architectures do something else far out."""
    noting, reading = _Noting(Reading(leaves(TRIED))), Reading(leaves(TRIED))
    inputs = {"input_ids": _ids(network, reading.tokens)}
    far = base_card.context(network.config) - 1
    positions = torch.linspace(0, far, len(reading.tokens), device=network.device).long()
    expected = _whole_logits(network, inputs, positions, noting, reading.last)
    heads = tuple(noting.heads)
    if any(asked.sinks is not None for asked in heads):
        return ()
    try:
        found = lean_logits(
            network,
            inputs,
            positions,
            reading,
            reading.last,
            heads,
            Products(network),
            Norms(),
        ).float()
    except UNFIT:
        return ()
    return heads if as_near(found, expected, computes_in(network)) else ()


def _ids(network: Any, tokens: Sequence[int]) -> torch.Tensor:
    return torch.tensor([list(tokens)], device=network.device)
