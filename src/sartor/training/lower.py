"""What frozen lower blocks give, kept: when only upper blocks train it is the same in every epoch.

Each example's hidden states below the first trained block are computed when it first comes, and
from then on its forward pass begins at that block. Kept in memory up to `IN_MEMORY`, beyond it in a
file of the run's folder. Only for models that run packs, whose blocks hand on hidden states and
nothing else, and that drop nothing by chance below: elsewhere all blocks run, as without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from sartor.training.blocks import blocks
from sartor.training.dropping import drops
from sartor.training.packed_attention import is_packed
from sartor.training.sharing import Row
from sartor.training.state import writing

KEPT = "_sartor_lower"
FILE = "lower.bin"
IN_MEMORY = 256 << 20
"""Bytes."""


class Lower:
    """Hidden states of examples that have been seen, below block `first`."""

    def __init__(self, network: Any, first: int, path: Path) -> None:
        self.path = path
        self._below = [block for _, block in blocks(network)[:first]]
        self._found: dict[tuple[int, ...], torch.Tensor | int] = {}
        self._bytes = self._written = 0
        self._given: torch.Tensor | None = None
        self._seen: torch.Tensor | None = None
        self._shape: tuple[int, torch.dtype] = (0, torch.float32)
        for block in self._below:
            block.forward = self._passed(block.forward, block is self._below[-1])

    def _passed(self, forward: Any, last: bool) -> Any:
        def passed(hidden: torch.Tensor, *more: Any, **named: Any) -> Any:
            if self._given is not None:
                return self._given if last else hidden
            with torch.no_grad():
                made = forward(hidden, *more, **named)
            if last:
                self._seen = made
            return made

        return passed

    def begin(self, row: Row) -> None:
        """Before the network runs over a row: start it where all of the row is known."""
        self._given = self._seen = None
        if all(example.tokens in self._found for _, example, _ in row.origins):
            parts = [self._read(e.tokens)[at : at + len(span)] for span, e, at in row.origins]
            self._given = torch.cat(parts)[None]  # (1, tokens, width)

    def end(self, row: Row) -> None:
        """After it: keep what was computed."""
        hidden, self._seen, self._given = self._seen, None, None
        # One example without numbers reaches others of its row: zero times no number is none.
        if hidden is None or not bool(hidden.isfinite().all()):
            return
        for span, example, _ in row.origins:
            whole = [*span.before, (span.start, span.end)]
            if sum(end - start for start, end in whole) == len(example.tokens):
                self._keep(example.tokens, torch.cat([hidden[0, s:e] for s, e in whole]))

    def _keep(self, tokens: tuple[int, ...], hidden: torch.Tensor) -> None:
        if tokens in self._found:
            return
        self._shape = (hidden.shape[1], hidden.dtype)
        if self._bytes + hidden.nbytes <= IN_MEMORY:
            self._found[tokens] = hidden.detach()
            self._bytes += hidden.nbytes
            return
        raw = hidden.detach().cpu().contiguous().view(torch.uint8).flatten()
        with writing(self.path), self.path.open("ab" if self._written else "wb") as file:
            file.write(raw.numpy().data)
        self._found[tokens] = self._written
        self._written += raw.numel()

    def _read(self, tokens: tuple[int, ...]) -> torch.Tensor:
        found = self._found[tokens]
        if isinstance(found, torch.Tensor):
            return found
        width, dtype = self._shape
        with self.path.open("rb") as file:
            file.seek(found)
            raw = bytearray(file.read(len(tokens) * width * dtype.itemsize))
        place = self._below[0].parameters().__next__().device
        return torch.frombuffer(raw, dtype=dtype).view(-1, width).to(place)

    def forget(self) -> None:
        """Drop all that was kept."""
        self._found.clear()
        self._bytes = self._written = 0
        self.path.unlink(missing_ok=True)


def use_lower_cache(
    network: Any, trained: Sequence[torch.nn.Parameter], directory: Path
) -> Lower | None:
    """Keep what the blocks below the first trained one give; None where all must run."""
    if not is_packed(network):
        return None
    if (used := getattr(network, KEPT, None)) is not None:  # by an earlier stage of training
        used.path = directory / FILE
        return cast(Lower, used)
    chosen = {id(parameter) for parameter in trained}
    found = [block for _, block in blocks(network)]
    holding = [n for n, b in enumerate(found) if any(id(p) in chosen for p in b.parameters())]
    inside = {id(p) for block in found for p in block.parameters()}
    before = {id(p) for p in network.get_input_embeddings().parameters()}
    first = min(holding, default=0)
    if first == 0 or chosen & before or _drops(network, found[:first]):
        return None
    after = {id(p) for module in _after(network) for p in module.parameters()}
    if not chosen <= inside | after or not _hand_on_hidden_alone(network, found[:first]):
        return None
    kept = Lower(network, first, directory / FILE)
    setattr(network, KEPT, kept)
    return kept


def _after(network: Any) -> list[Any]:
    """The norm after the blocks, and the head."""
    decoder = network.get_decoder() if hasattr(network, "get_decoder") else None
    named = [getattr(decoder, name, None) for name in ("norm", "ln_f", "final_layernorm")]
    return [m for m in (*named, network.get_output_embeddings()) if m is not None]


def _drops(network: Any, below: Sequence[Any]) -> bool:
    """Whether anything is dropped by chance in or before these blocks."""
    inside = {id(m) for _, block in blocks(network) for m in block.modules()}
    under = [m for m in network.modules() if id(m) not in inside]
    return drops([*under, *(m for block in below for m in block.modules())])


def _hand_on_hidden_alone(network: Any, below: Sequence[Any]) -> bool:
    """Whether these blocks give one tensor (1, tokens, width), of the width that they take."""
    shapes: list[Any] = []

    def see(_: Any, given: Any, made: Any) -> None:
        same = isinstance(made, torch.Tensor) and given and made.shape == given[0].shape
        shapes.append(same and made.dim() == 3)

    hooks = [block.register_forward_hook(see) for block in below]
    try:
        with torch.no_grad():
            network(input_ids=torch.tensor([[5, 3, 4]], device=network.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return len(shapes) == len(below) and all(shapes)
