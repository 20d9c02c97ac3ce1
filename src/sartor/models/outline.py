"""A base model's shape, from its configuration alone: no weights are read, no memory is taken.

For estimates (techniques/estimating/estimate.py); what is run is loaded by local.py.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from sartor.errors import ModelError
from sartor.models import base_card, libraries
from sartor.models.catalogue import FoundationModel, Shape, catalogued
from sartor.models.language_model import ModelCard


@dataclass(frozen=True)
class Outline:
    """What of a model's shape decides its memory."""

    layers: int
    hidden: int
    heads: int
    vocabulary: int
    cached: int
    """Values that the cache of keys and values holds for a token."""
    linears: tuple[tuple[str, int], ...]
    """Every linear map of the blocks, and its inputs and outputs for a token."""

    @cached_property
    def widths(self) -> int:
        """Inputs and outputs of all linear maps, for a token."""
        return sum(width for _, width in self.linears)


KEPT = 8
"""Bases whose shape is kept: each is asked for several times by every candidate."""


def outline(card: ModelCard) -> Outline:
    """The shape of a base model; ModelError where transformers cannot tell it."""
    return _outlined(card) if _is_fixed(card) else _outlined.__wrapped__(card)


def _is_fixed(card: ModelCard) -> bool:
    """Whether what is told of it once holds for good: its files are part of its revision."""
    return bool(card.revision) and card.remote is None


@lru_cache(KEPT)
def _outlined(card: ModelCard) -> Outline:
    config = configuration(card)
    network = empty_network(card, config)
    by_layer = _by_layer(config)
    return Outline(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=max(map(_heads, by_layer), default=0),
        vocabulary=config.vocab_size,
        cached=sum(map(_cached, by_layer)),
        linears=tuple(_linears(network, getattr(config, "num_experts_per_tok", None) or 1)),
    )


def _by_layer(config: Any) -> list[Any]:
    """Each layer's own configuration: in some architectures (Gemma 4) heads differ in width."""
    differing = getattr(config, "is_heterogeneous", False)
    return list(config.per_layer_config) if differing else [config] * config.num_hidden_layers


def _heads(layer: Any) -> int:
    return getattr(layer, "num_attention_heads", None) or 0


def _cached(layer: Any) -> int:
    """Values that a layer keeps of a token; latent attention makes keys and values wider than the
    configuration says."""
    dimension = getattr(layer, "head_dim", None) or layer.hidden_size // max(1, _heads(layer))
    keys = getattr(layer, "qk_head_dim", None) or dimension
    values = getattr(layer, "v_head_dim", None) or dimension
    return int((getattr(layer, "num_key_value_heads", None) or _heads(layer)) * (keys + values))


def known(base: str, trust_remote_code: bool = False) -> tuple[ModelCard, Outline, float]:
    """A base that need not be at hand: its card, its shape, and the parameters that work on a
    token.

    From a folder with config.json (weights are not needed), or from the catalogue; else as
    `base_card.describe` finds it. Raises ModelError.
    """
    listed, folder = catalogued(base), Path(base).expanduser()
    if listed is not None and not folder.is_dir():
        return _listed(base, listed)
    bare = (folder / "config.json").is_file() and not any(folder.glob("*.safetensors"))
    if not bare:
        card = base_card.describe(base, trust_remote_code=trust_remote_code)
        return card, outline(card), float(card.parameters)
    card = ModelCard(base, str(folder), "", "", 0, 0, trust_remote_code=trust_remote_code)
    config = configuration(card)
    shape, network = outline(card), empty_network(card, config)
    card = replace(
        card,
        architecture=type(network).__name__,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        context=base_card.context(config),
    )
    return card, shape, float(card.parameters)


def _listed(base: str, listed: FoundationModel) -> tuple[ModelCard, Outline, float]:
    shape = listed.shape
    if shape is None:
        raise ModelError(
            f"base {base!r}: the catalogue does not have the sizes of its layers, so nothing can "
            "be counted. Give a folder with its config.json and tokenizer."
        )
    card = ModelCard(
        base, "", listed.revision, listed.architecture, round(listed.parameters), listed.context,
        listed.license_name,
    )  # fmt: skip
    return card, of_shape(shape), listed.active or listed.parameters


def of_shape(shape: Shape) -> Outline:
    """The outline of a shape in the catalogue."""
    return Outline(
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        vocabulary=shape.vocabulary,
        cached=shape.cached,
        linears=shape.linears(),
    )


def configuration(card: ModelCard) -> Any:
    """Of the part of a base that reads text; ModelError where transformers cannot read it."""
    found = base_card.configuration(card.path, card.trust_remote_code)
    return found.get_text_config(decoder=True)


def empty_network(card: ModelCard, config: Any, layers: int | None = None, **options: Any) -> Any:
    """The network, of its first `layers` or of all, on torch's `meta` device; ModelError where
    transformers makes none of such a configuration."""
    import torch
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(config)
    if layers is not None:
        config.num_hidden_layers = layers
        if len(getattr(config, "layer_types", None) or ()) > layers:
            config.layer_types = config.layer_types[:layers]
    try:
        if getattr(config, "num_hidden_layers", 1) < 1:
            raise ValueError(f"it has {config.num_hidden_layers} layers")
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                config, trust_remote_code=card.trust_remote_code, **options
            )
    except Exception as error:  # transformers raises many kinds, and lists all that it knows
        raise ModelError(
            f"base {card.name!r}: transformers makes no causal language model of its "
            f"configuration ({libraries.reason(error).rstrip('.')}). Compare config.json with its "
            "publisher's, or give another base."
        ) from error


def empty_alike(base: ModelCard, *, to_change: bool = False) -> Any:
    """The base's network without weights; None where nothing, or only a part, is told of it, or its
    code cannot make it so. Only one made `to_change` may be changed: others look at it too."""
    if to_change or not _is_fixed(base):
        return _empty_alike.__wrapped__(base)
    return _empty_alike(base)


@lru_cache(KEPT)
def _empty_alike(base: ModelCard) -> Any:
    path = Path(base.path) / "config.json"
    if not path.is_file():
        return None
    config = configuration(base)
    whole = json.loads(path.read_text("utf-8")).get("model_type") == config.model_type
    try:
        return empty_network(base, config) if whole else None
    except ModelError:
        return None


def _linears(network: Any, experts: int) -> list[tuple[str, int]]:
    """By name; of a stack of experts' matrices, those that a token goes through."""
    aside = {id(network.get_input_embeddings().weight)}
    if network.get_output_embeddings() is not None:
        aside.add(id(network.get_output_embeddings().weight))
    found = []
    for name, weight in network.named_parameters():
        if weight.dim() in (2, 3) and id(weight) not in aside:
            width = sum(weight.shape[-2:]) * (experts if weight.dim() == 3 else 1)
            found.append((name.removesuffix(".weight"), width))
    return found
