"""Keys and values that stand before every request, in every layer of a network.

Their shapes are read from what the network itself puts into its cache: heads that share keys, and
keys of another width than values, are not told by configurations alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Pair = tuple["torch.Tensor", "torch.Tensor"]
"""Keys (1, key heads, tokens, width) and values (1, key heads, tokens, width) of a layer."""


@dataclass(frozen=True)
class Prefix:
    """What a network would have in its cache, had it read tokens that there are none of."""

    layers: tuple[Pair, ...]

    def __len__(self) -> int:
        """How many tokens it stands for."""
        return int(self.layers[0][0].shape[2])

    def cache(self, network: Any, rows: int = 1) -> Any:
        """As a cache that the network goes on from, for so many rows."""
        from transformers import DynamicCache

        from sartor.models.in_float32 import computes_in

        cache = DynamicCache(config=network.config)
        for number, pair in enumerate(self.layers):
            keys, values = (t.to(network.device, computes_in(network)) for t in pair)
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
        return cache

    def flat(self) -> torch.Tensor:
        """(tokens, all layers' widths), in PEFT's order: each layer's keys, then its values."""
        import torch

        parts = [t[0].transpose(0, 1).flatten(1) for pair in self.layers for t in pair]
        return torch.cat(parts, 1)

    @property
    def is_uniform(self) -> bool:
        """Whether keys and values of all layers have one shape, which PEFT's format expects."""
        return len({t.shape for pair in self.layers for t in pair}) == 1


def of_tokens(network: Any, tokens: Sequence[int]) -> Prefix:
    """What the network has in its cache once it has read these tokens; AttributeError where that is
    no keys and values by layer."""
    import torch

    with torch.no_grad():
        ids = torch.tensor([list(tokens)], device=network.device)
        kept = network(input_ids=ids, use_cache=True).past_key_values
    return Prefix(tuple((layer.keys, layer.values) for layer in kept.layers))


def from_flat(network: Any, flat: torch.Tensor) -> Prefix:
    """The prefix that `Prefix.flat` gave; ValueError where it is another network's."""
    import torch

    like = of_tokens(network, [0])
    widths = [t.shape[1] * t.shape[3] for pair in like.layers for t in pair]
    if sum(widths) != flat.shape[1]:
        raise ValueError(f"a prefix of width {flat.shape[1]}, and layers of {sum(widths)} in all")
    parts = iter(torch.split(flat, widths, 1))

    def shaped(like: torch.Tensor) -> torch.Tensor:
        part: torch.Tensor = next(parts)
        return part.view(len(part), like.shape[1], like.shape[3]).transpose(0, 1)[None]

    return Prefix(tuple((shaped(keys), shaped(values)) for keys, values in like.layers))
