"""Batched generation: what prompts share is computed once, finished rows leave the batch.

Prompts of one batch are left-padded; the tokens that all of them begin with (a system prompt, a
few-shot block) and any virtual tokens run once through the model, and their cache is copied to
every row. Greedy unless a temperature is given. Knows nothing of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WORTH_SHARING = 8
"""Tokens; a shorter common beginning is not worth a pass of its own."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next token of every row still being written: (row, token)."""

    tokens: tuple[tuple[int, int], ...]


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, leaving each at least one of its own."""
    shortest, longest = min(prompts), max(prompts)  # lexicographic ends bound all between
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(shortest, longest, strict=False)))
    return min(same, min(map(len, prompts)) - 1)


def steps(
    network: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    ends: frozenset[int],
    temperature: float = 0.0,
    seed: int = 0,
    virtual: torch.Tensor | None = None,
    stopped: Callable[[int], bool] = lambda row: False,
) -> Iterator[Step]:
    """Generate for all prompts together, a token a row at a time.

    `virtual` (virtual tokens, hidden) are embeddings put before every prompt. A row ends with a token
    of `ends`, when `stopped(row)`, or after `max_new_tokens`.
    """
    import torch

    with torch.inference_mode():
        shared = common_prefix(prompts)
        shared = shared if len(prompts) > 1 and shared >= WORTH_SHARING else 0
        cache = _shared_cache(network, prompts[0][:shared], virtual)
        past = shared + (0 if virtual is None else len(virtual))
        if cache is not None and len(prompts) > 1:
            cache.batch_repeat_interleave(len(prompts))
        ids, mask = _padded([prompt[shared:] for prompt in prompts], past, network.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, past:]
        generators = [torch.Generator().manual_seed(seed + row) for row in range(len(prompts))]
        rows = list(range(len(prompts)))
        for count in range(1, max_new_tokens + 1):
            output = network(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            chosen = _choose(output.logits[:, -1].float(), rows, temperature, generators)
            yield Step(tuple(zip(rows, chosen, strict=True)))
            going = [
                i for i, (row, token) in enumerate(zip(rows, chosen, strict=True))
                if token not in ends and not stopped(row)
            ]  # fmt: skip
            if not going or count == max_new_tokens:
                return
            if len(going) < len(rows):
                keep = torch.tensor(going, device=network.device)
                cache.batch_select_indices(keep)
                mask, positions = mask[keep], positions[keep]
                rows, chosen = [rows[i] for i in going], [chosen[i] for i in going]
            ids = torch.tensor(chosen, device=network.device)[:, None]  # (rows, 1)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
            positions = positions[:, -1:] + 1


def _shared_cache(network: Any, tokens: Sequence[int], virtual: torch.Tensor | None) -> Any:
    """The key-value cache of virtual and shared tokens, or None where there are neither."""
    import torch

    if virtual is None and not tokens:
        return None
    embed = network.get_input_embeddings()
    parts = [] if virtual is None else [virtual.to(embed.weight.dtype)]
    if tokens:
        parts.append(embed(torch.tensor(list(tokens), device=network.device)))
    embeddings = torch.cat(parts)[None]  # (1, shared, hidden)
    return network(inputs_embeds=embeddings, use_cache=True, logits_to_keep=1).past_key_values


def _padded(
    prompts: Sequence[Sequence[int]], past: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded tokens (rows, longest) and the mask over cache and tokens (rows, past + longest)."""
    import torch

    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), past + longest, dtype=torch.long)
    mask[:, :past] = 1
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, past + longest - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


def _choose(
    logits: torch.Tensor, rows: list[int], temperature: float, generators: list[torch.Generator]
) -> list[int]:
    """The next token of each row from its logits (rows, vocabulary)."""
    import torch

    if temperature <= 0:
        return [int(token) for token in logits.argmax(-1).tolist()]
    chances = torch.softmax(logits / temperature, -1).cpu()
    return [
        int(torch.multinomial(chances[i], 1, generator=generators[row]))
        for i, row in enumerate(rows)
    ]
