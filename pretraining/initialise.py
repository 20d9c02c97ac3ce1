"""thimble's first weights: random, but with the circuit that copies already in place.

Reading a context is done by pairs of heads: one looks at the token before, the next finds where the
current token stood before and says what followed it (Olsson et al. 2022, arXiv:2209.11895). They form
by chance, late, and suddenly; at this size that takes tens of millions of tokens. So the first two
layers start as such pairs (in the spirit of mimetic initialization, Trockman & Kolter 2023,
arXiv:2305.09828). Nothing is frozen: training is free to keep, sharpen or undo them.
"""

from __future__ import annotations

import math

import torch
from transformers import LlamaConfig, LlamaForCausalLM

PREVIOUS_HEADS = 3
"""Heads of layer 0 that look at the token before, one projection of the token each."""


def config(
    vocabulary: int, layers: int = 6, hidden: int = 256, intermediate: int = 640
) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64, head_dim=64, max_position_embeddings=1024,
        rope_theta=500_000.0, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0, rms_norm_eps=1e-5,
    )  # fmt: skip


def orthonormal(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(columns, rows, generator=generator))
    return q.T.contiguous()  # (rows, columns)


@torch.no_grad()
def build(shape: LlamaConfig, seed: int, circuits: bool = True) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(shape)
    generator = torch.Generator().manual_seed(seed)
    hidden, dim = shape.hidden_size, shape.head_dim
    for name, p in model.named_parameters():
        if p.dim() == 2:
            std = 0.02 if "embed" in name else 0.4 / math.sqrt(p.shape[1])
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std /= math.sqrt(2 * shape.num_hidden_layers)
            p.normal_(0, std, generator=generator)
    if not circuits:
        return model
    embedding = model.model.embed_tokens.weight  # (vocabulary, hidden)
    constant = torch.zeros(hidden)
    constant[0] = 1.0
    embedding[:, 0] = (
        0.02 * math.sqrt(hidden) * 0.6
    )  # every token shares this direction: position heads read it
    first, second = model.model.layers[0].self_attn, model.model.layers[1].self_attn
    frequencies = 1.0 / shape.rope_parameters["rope_theta"] ** (
        torch.arange(0, dim, 2) / dim
    )  # (dim / 2,)
    fast = (torch.arange(dim // 2) < 8).float()
    slow = torch.arange(dim // 2) >= dim // 4
    for head in range(PREVIOUS_HEADS):
        at = slice(head * dim, (head + 1) * dim)
        key = torch.cat(
            [fast, torch.zeros(dim // 2)]
        )  # (dim,), halves as transformers rotates them
        query = torch.cat(
            [fast * torch.cos(frequencies), -fast * torch.sin(frequencies)]
        )  # rotated one step back
        size = 2.0
        first.k_proj.weight[at] = size * key[:, None] * constant / 8 * 5
        first.q_proj.weight[at] = size * query[:, None] * constant / 8 * 5
        slow_rows = torch.cat([slow, slow]).nonzero()[:, 0]
        n = len(slow_rows)
        read = orthonormal(n, hidden, generator)  # what of the token is passed on
        write = orthonormal(n, hidden, generator)  # where the next layer finds it
        first.v_proj.weight[at] = 0
        first.v_proj.weight[at][:n] = read
        first.o_proj.weight[:, at] = 0
        first.o_proj.weight[:, at][:, :n] = 0.04 * write.T
        second.q_proj.weight[at] = 0
        second.k_proj.weight[at] = 0
        second.q_proj.weight[head * dim + slow_rows] = 2.0 * read  # the token here ...
        second.k_proj.weight[head * dim + slow_rows] = (
            2.0 * write
        )  # ... against the token before there
        out = orthonormal(dim, hidden, generator)
        second.v_proj.weight[at] = out
        second.o_proj.weight[:, at] = 0.15 * out.T  # says the token that it found
    return model
