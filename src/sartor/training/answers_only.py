"""The last block works only where an answer is scored: what it gives elsewhere nothing reads.

Queries, the attention's output layer and the feed-forward of the last block see the scored places
of a row; elsewhere they give zeros. Nine of ten tokens are prompts where those are long, so one
block of a model costs a third of what it did, and keeps as much less for the backward pass. Tried
on a few tokens before it is believed: the logits of scored places must stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from sartor.models.in_float32 import as_near, computes_in, tried
from sartor.training.blocks import blocks

FEED_FORWARD = ("mlp", "feed_forward", "block_sparse_moe")
"""What architectures call a block's feed-forward."""
ATTENTION = ("self_attn", "attention", "attn")
WITHIN = ("q_proj", "o_proj")
"""Of attention, what works on each token by itself and is read by scored places only."""
USED = "_sartor_answers_only"
NARROWED = "_sartor_narrowed"
"""Where the last block gives scored places alone (lean_blocks.py)."""
MOST = 1e-2
"""Mean difference, in parts of the mean size, that is believed in bfloat16 too."""
UNFIT = (TypeError, ValueError, RuntimeError, AttributeError, IndexError)
"""What modules raise that take or give something else."""

_scored: ContextVar[torch.Tensor | None] = ContextVar("scored", default=None)


@contextmanager
def scoring(network: Any, places: torch.Tensor) -> Iterator[None]:
    """While the network runs over a row of which only these places (answer tokens,) are read."""
    if not getattr(network, USED, False) and not is_narrowed(network):
        yield
        return
    token = _scored.set(places)
    try:
        yield
    finally:
        _scored.reset(token)


def is_narrowed(network: Any) -> bool:
    """Whether the network gives scored places alone while they are named."""
    return bool(getattr(network, NARROWED, False))


def scored_places() -> torch.Tensor | None:
    """The places that `scoring` has named, for work that is done again on the way back."""
    return _scored.get()


@contextmanager
def scoring_again(places: torch.Tensor | None) -> Iterator[None]:
    """While that work is done again."""
    token = _scored.set(places)
    try:
        yield
    finally:
        _scored.reset(token)


def use_answers_only(network: Any, tokens: tuple[int, ...]) -> int:
    """Restrict the last block's modules, where its logits stay the same; how many they are."""
    modules = _modules(network)
    if not modules or not hasattr(network, "get_decoder"):
        return 0
    if getattr(network, USED, False):  # by an earlier stage of training
        return len(modules)
    try:
        return tried(network, lambda: _restricted_to(network, modules, tokens))
    except UNFIT:  # some call another thing their decoder: ModernBERT its head
        return 0


def _restricted_to(network: Any, modules: list[Any], tokens: tuple[int, ...]) -> int:
    ids = torch.tensor(tokens, device=network.device)
    places = torch.tensor([1, len(tokens) - 1], device=network.device)
    before = {module: vars(module).get("forward") for module in modules}
    with torch.no_grad():
        with _counting(modules) as runs:
            whole = _hidden(network, ids)[places].float()
        if len(runs) > len(modules):  # what a block gave once, it reads the next time: HRM
            return 0
        for module in modules:
            module.forward = _restricted(module.forward)
        setattr(network, USED, True)
        try:
            with scoring(network, places):
                part = _hidden(network, ids)[places].float()
        except UNFIT:
            part = torch.full_like(whole, torch.inf)
    if as_near(part, whole, computes_in(network), MOST):
        return len(modules)
    for module, forward in before.items():
        if forward is None:
            del module.forward
        else:
            module.forward = forward
    setattr(network, USED, False)
    return 0


@contextmanager
def _counting(modules: list[Any]) -> Iterator[list[Any]]:
    """The runs of these modules, one by one."""
    runs: list[Any] = []
    hooks = [module.register_forward_hook(lambda m, *_: runs.append(m)) for module in modules]
    try:
        yield runs
    finally:
        for hook in hooks:
            hook.remove()


def _hidden(network: Any, ids: torch.Tensor) -> torch.Tensor:
    """What the decoder gives: (tokens, width)."""
    given: torch.Tensor = network.get_decoder()(input_ids=ids[None], use_cache=False)[0][0]
    return given


def _modules(network: Any) -> list[Any]:
    _, last = blocks(network)[-1]
    found = [getattr(last, name) for name in FEED_FORWARD if hasattr(last, name)]
    for name in ATTENTION:
        attention = getattr(last, name, None)
        found += [getattr(attention, part) for part in WITHIN if hasattr(attention, part)]
    return [module for module in found if isinstance(module, torch.nn.Module)]


def _restricted(forward: Callable[..., Any]) -> Callable[..., Any]:
    def restricted(x: torch.Tensor, *more: Any, **named: Any) -> Any:
        places = _scored.get()
        if places is None:
            return forward(x, *more, **named)
        some = forward(x.index_select(1, places), *more, **named)
        whole = some.new_zeros(*x.shape[:-1], some.shape[-1])
        return whole.index_copy(1, places, some)

    return restricted
