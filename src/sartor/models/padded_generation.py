"""Batched generation for networks that do not run in rows: prompts of one batch are left-padded.

The tokens that all of them begin with and any virtual tokens run once through the model, and their
cache is copied to every row. Finished rows leave the batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from sartor.models.prefix import Prefix
from sartor.models.prefix_tree import WORTH_SHARING, common_prefix
from sartor.models.sampling import Asked, Step, choose

if TYPE_CHECKING:
    import torch

ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
"""What transformers calls layers that keep nothing but keys and values."""
VERDICT = "_sartor_sees_padding"
TRIED = (9, 8, 7, 3, 5, 4)
UNEQUAL = 0.1
"""Mean difference of the logits, in parts of their mean size, that rounding does not explain."""
WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""Where configurations say how far back a layer sees."""


def must_go_alone(network: Any, virtual: torch.Tensor | Prefix | None = None) -> bool:
    """Whether rows of a batch would disturb each other: padding enters a model's running state, or
    stands between a prefix and what is counted in slots from there."""
    if isinstance(virtual, Prefix) and "position_ids" not in parameters_of(type(network)):
        return True
    kinds = set(getattr(_text_config(network), "layer_types", None) or ())
    return bool(getattr(network, "_is_stateful", False)) or not kinds <= ATTENTION_LAYERS


def padding_is_seen(network: Any) -> bool:
    """Whether padding before a prompt changes what the network gives, as where positions are
    counted in slots (decoders of BART's build); tried on a few tokens once."""
    import torch

    if not hasattr(network, VERDICT):
        rows = [list(TRIED), list(TRIED[:2])]
        with torch.inference_mode():
            inputs, mask = _padded(network, rows, 0, None)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            together = _forward(network, inputs, mask, positions, None).logits[1, -1].float()
            ids = torch.tensor(rows[1:], device=network.device)
            alone = _forward(network, {"input_ids": ids}, None, None, None).logits[0, -1].float()
        far = (together - alone).abs().mean() > UNEQUAL * alone.abs().mean()
        setattr(network, VERDICT, bool(far))
    return bool(getattr(network, VERDICT))


def padded_steps(network: Any, prompts: Sequence[Sequence[int]], asked: Asked) -> Iterator[Step]:
    """Generate for all prompts together, a token a row at a time; rows are counted from 0."""
    first = _read_anew_after(network, prompts, asked)
    if not first:
        yield from _steps(network, prompts, asked)
        return
    written: list[int] = []
    for step in _steps(network, prompts, replace(asked, limits=[first])):
        yield step
        written += [token for _, token in step.tokens]
    if not asked.ended(0, written[-1], first):
        rest = replace(asked, limits=[asked.limits[0] - first])
        yield from _steps(network, [[*prompts[0], *written]], rest)


def _read_anew_after(network: Any, prompts: Sequence[Sequence[int]], asked: Asked) -> int:
    """After how many tokens all is read again, since it is longer than what positions were for;
    0 for never. Such a prompt is alone."""
    from sartor.models.rotary import anew_beyond

    usual = anew_beyond(network)
    if usual is None or len(prompts) > 1:
        return 0
    before = 0 if asked.virtual is None else len(asked.virtual)
    first = usual + 1 - before - len(prompts[0])
    return first if 0 < first < asked.limits[0] else 0


def _steps(network: Any, prompts: Sequence[Sequence[int]], asked: Asked) -> Iterator[Step]:
    import torch

    virtual = asked.virtual
    before = 0 if virtual is None else len(virtual)
    limits = asked.limits
    split = asked.share and _may_split(network, before + max(map(len, prompts)) + max(limits))
    shared = common_prefix(prompts) if split and len(prompts) > 1 else 0
    shared = shared if shared >= WORTH_SHARING else 0
    ahead = split or isinstance(virtual, Prefix)
    kept = _shared_cache(network, prompts[0][:shared], virtual) if ahead else None
    past = shared + before if ahead else 0
    if kept is not None and len(prompts) > 1:
        kept.batch_repeat_interleave(len(prompts))
    own = [prompt[shared:] for prompt in prompts]
    inputs, mask = _padded(
        network, own, past, None if isinstance(virtual, Prefix) or split else virtual
    )
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, past:]
    rows = list(range(len(prompts)))
    for count in range(1, max(limits) + 1):
        output = _forward(network, inputs, mask, positions, kept)
        kept = output.past_key_values
        chosen = choose(output.logits[:, -1].float(), rows, asked)
        yield Step(tuple(zip(rows, chosen, strict=True)))
        going = [
            i for i, (row, token) in enumerate(zip(rows, chosen, strict=True))
            if not asked.ended(row, token, count)
        ]  # fmt: skip
        if not going:
            return
        if len(going) < len(rows):
            keep = torch.tensor(going, device=network.device)
            kept.batch_select_indices(keep)
            mask, positions = mask[keep], positions[keep]
            rows, chosen = [rows[i] for i in going], [chosen[i] for i in going]
        inputs = {"input_ids": torch.tensor(chosen, device=network.device)[:, None]}  # (rows, 1)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        positions = positions[:, -1:] + 1


def sees_all(network: Any, context: int) -> bool:
    """Whether the last of so many tokens sees the first, in every layer."""
    windows = [getattr(_text_config(network), name, None) for name in WINDOWS]
    return not must_go_alone(network) and all(not w or context <= w for w in windows)


def _may_split(network: Any, slots: int) -> bool:
    """Whether prompts may be put through in two parts, with padding between them.

    Not where a layer's window or a token's position is counted in slots, padding included, nor
    where positions depend on the length of what goes through together.
    """
    from sartor.models.rotary import changes_with_length

    apart = "position_ids" in parameters_of(type(network)) and sees_all(network, slots)
    return apart and not changes_with_length(_text_config(network))


def _text_config(network: Any) -> Any:
    return network.config.get_text_config(decoder=True)


def _forward(
    network: Any, inputs: dict[str, Any], mask: torch.Tensor | None, positions: Any, kept: Any
) -> Any:
    """The model's output for the newest tokens; what its architecture does not take is left out."""
    accepted = parameters_of(type(network))
    given = {"position_ids": positions, "logits_to_keep": 1}
    given = {name: value for name, value in given.items() if name in accepted}
    return network(**inputs, **given, attention_mask=mask, past_key_values=kept, use_cache=True)


def _takes(architecture: Any) -> frozenset[str]:
    return frozenset(inspect.signature(architecture.forward).parameters)


parameters_of: Callable[[Any], frozenset[str]] = cache(_takes)
"""What a class of models takes; read once."""


def _shared_cache(
    network: Any, tokens: Sequence[int], virtual: torch.Tensor | Prefix | None
) -> Any:
    """The key-value cache of virtual and shared tokens, or None where there are neither."""
    import torch

    if virtual is None and not tokens:
        return None
    kept = virtual.cache(network) if isinstance(virtual, Prefix) else None
    if kept is not None and not tokens:
        return kept
    ids = torch.tensor([list(tokens)], dtype=torch.long, device=network.device)
    if virtual is None or isinstance(virtual, Prefix):
        inputs = {"input_ids": ids}
    else:
        rest = network.get_input_embeddings()(ids)[0]
        inputs = {
            "inputs_embeds": torch.cat([virtual.to(rest.dtype), rest])[None]
        }  # (1, shared, hidden)
    return _forward(network, inputs, None, None, kept).past_key_values


def _padded(
    network: Any, prompts: Sequence[Sequence[int]], past: int, virtual: torch.Tensor | None
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The model's inputs, left-padded, and the mask over past and inputs (rows, past + longest)."""
    import torch

    before = 0 if virtual is None else len(virtual)
    longest = before + max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), past + longest, dtype=torch.long)
    mask[:, :past] = 1
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, past + longest - len(prompt) - before :] = 1
    ids, mask = ids.to(network.device), mask.to(network.device)
    if virtual is None:
        return {"input_ids": ids}, mask
    embedded = network.get_input_embeddings()(ids)  # (rows, longest, hidden)
    for row, prompt in enumerate(prompts):
        start = longest - len(prompt) - before
        embedded[row, start : start + before] = virtual.to(embedded.dtype)
    return {"inputs_embeds": embedded}, mask
