"""Examples as tokens, packed: many in one row, none seeing another, scored at their answers only.

A pack is one row without padding. Attention runs over each example by itself (block-diagonal and
causal), positions restart, and the vocabulary head sees only the positions whose next token belongs
to an answer. Models that do not take a custom attention are given padded batches instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.data.records import Example
from sartor.errors import TrainingError
from sartor.models import chat
from sartor.progress import say

if TYPE_CHECKING:
    import torch

ATTENTION = "sartor_packed"
SHORTEST_ANSWER = 8
"""Tokens of an answer that must fit behind a prompt for the example to be trained on."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as tokens: the prompt, then the answer with its end-of-turn token."""

    id: str
    tokens: tuple[int, ...]
    prompt: int
    """How many of the tokens are the prompt's: not scored."""


def encode(tokenizer: Any, examples: Sequence[Example], context: int) -> list[Encoded]:
    """Tokens of all examples; answers are cut to the context, prompts that fill it are left out."""
    encoded, too_long = [], 0
    for example in examples:
        prompt = chat.encode(tokenizer, example.input)
        answer = chat.encode_answer(tokenizer, prompt, example.targets[0])
        if len(prompt) + min(SHORTEST_ANSWER, len(answer)) > context:
            too_long += 1
            continue
        encoded.append(Encoded(example.id, (*prompt, *answer)[:context], len(prompt)))
    if too_long:
        say(f"{too_long} of {len(examples)} examples have prompts that fill the model's context")
    if not encoded:
        raise TrainingError(
            f"nothing to train on: all {len(examples)} prompts fill the model's context of "
            f"{context} tokens. Shorten them, use fewer passages, or choose a longer context."
        )
    return encoded


def packs(examples: Sequence[Encoded], tokens: int) -> Iterator[list[Encoded]]:
    """Neighbours together, as long as they have at most `tokens` tokens."""
    pack: list[Encoded] = []
    size = 0
    for example in examples:
        if pack and size + len(example.tokens) > tokens:
            yield pack
            pack, size = [], 0
        pack.append(example)
        size += len(example.tokens)
    if pack:
        yield pack


def answer_loss(
    network: Any, pack: Sequence[Encoded], virtual: torch.Tensor | None = None
) -> tuple[torch.Tensor, int]:
    """(sum of the cross-entropy over the pack's answer tokens, how many they are).

    `virtual` (virtual tokens, hidden) are put before every example.
    """
    import torch

    packed = use_packed_attention(network)
    logits, labels = (_packed if packed else _padded)(network, pack, virtual)
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum"), len(labels)


def use_packed_attention(network: Any) -> bool:
    """Whether the model runs packs; switches it to the packed attention when it can."""
    from transformers import AttentionInterface

    if not getattr(network, "_supports_attention_backend", False):
        return False
    if network.config._attn_implementation != ATTENTION:
        AttentionInterface.register(ATTENTION, _attend)
        network.set_attn_implementation(ATTENTION)
    return True


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    segments: Sequence[int] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over each segment of a row by itself; query is (1, heads, tokens, dimension)."""
    import torch

    groups = query.shape[1] // key.shape[1]
    window = getattr(module, "sliding_window", None)
    parts = []
    start = 0
    for length in segments or [query.shape[2]]:
        q, k, v = (t[:, :, start : start + length] for t in (query, key, value))
        mask = _window_mask(length, window, query.device)
        parts.append(
            torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling,
                dropout_p=dropout, enable_gqa=groups > 1,
            )
        )  # fmt: skip
        start += length
    return torch.cat(parts, 2).transpose(1, 2), None  # (1, tokens, heads, dimension)


def _window_mask(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    if window is None or length <= window:
        return None
    import torch

    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (distance >= 0) & (distance < window)


def _embedded(
    network: Any, pack: Sequence[Encoded], virtual: torch.Tensor | None
) -> list[torch.Tensor]:
    """The input embeddings of each example, (its tokens + virtual tokens, hidden)."""
    import torch

    embed = network.get_input_embeddings()
    flat = torch.tensor([t for e in pack for t in e.tokens], device=network.device)
    rows = embed(flat).split([len(e.tokens) for e in pack])
    if virtual is None:
        return list(rows)
    return [torch.cat([virtual.to(row.dtype), row]) for row in rows]


def _packed(
    network: Any, pack: Sequence[Encoded], virtual: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (answer tokens, vocabulary) and labels (answer tokens) of one row of all examples."""
    import torch

    rows = _embedded(network, pack, virtual)
    segments = [len(row) for row in rows]
    extra = 0 if virtual is None else len(virtual)
    scored, labels, start = [], [], 0
    for example, length in zip(pack, segments, strict=True):
        first = start + extra + example.prompt - 1  # the position that predicts the first token
        scored += range(first, start + length - 1)
        labels += example.tokens[example.prompt :]
        start += length
    positions = torch.cat([torch.arange(n) for n in segments])[None].to(network.device)
    logits = network(
        inputs_embeds=torch.cat(rows)[None],
        position_ids=positions,
        use_cache=False,
        logits_to_keep=torch.tensor(scored, device=network.device),
        segments=segments,
    ).logits[0]
    return logits, torch.tensor(labels, device=network.device)


def _padded(
    network: Any, pack: Sequence[Encoded], virtual: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same from a right-padded batch, for models that take no custom attention."""
    import torch

    rows = _embedded(network, pack, virtual)
    inputs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (examples, longest, hidden)
    lengths = torch.tensor([len(row) for row in rows], device=network.device)
    mask = torch.arange(inputs.shape[1], device=network.device) < lengths[:, None]
    logits = network(inputs_embeds=inputs, attention_mask=mask.long(), use_cache=False).logits
    extra = 0 if virtual is None else len(virtual)
    kept, labels = [], []
    for row, example in enumerate(pack):
        kept.append(logits[row, extra + example.prompt - 1 : len(rows[row]) - 1])
        labels += example.tokens[example.prompt :]
    return torch.cat(kept), torch.tensor(labels, device=network.device)
