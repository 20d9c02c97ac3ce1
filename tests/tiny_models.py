"""Bases for tests: two layers of many architectures, drawn from a seed, with their own tokenizer.

They know nothing, but every rule that holds for a large model holds for them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from sartor.models import base_card, libraries
from sartor.models.language_model import ModelCard

CONTEXT = 256
"""Tokens."""
CONTROL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
LINES = (
    "What color is the lamp? The lamp is green.",
    "How long is the notice period? The notice period is four weeks.",
    "Answer the question from the passages, as briefly as you can.",
    "If they do not hold the answer, say: I don't know.",
)
WINDOW = 16
"""Tokens that the sliding layers of some architectures see."""
GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
GPT2 |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
NEO: dict[str, Any] = {
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
}
NEO |= {"window_size": WINDOW, **dict.fromkeys(("resid_dropout", "embed_dropout"), 0.0)}
LINEAR: dict[str, Any] = {
    "num_hidden_layers": 4,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
}
LINEAR |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
DEEP: dict[str, Any] = {"hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
DEEP |= {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
DEEP |= {"head_dim": 8, "activation_sparsity_pattern": None, "vocab_size_per_layer_input": 360}
UNLIKE: dict[str, Any] = {"head_dim": 8, "global_head_dim": 12, "sliding_window": WINDOW}
UNLIKE |= {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0}
UNLIKE |= {"layer_types": ["sliding_attention", "full_attention"]}
EXPERTS: dict[str, Any] = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
LATENT: dict[str, Any] = {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 8}
LATENT |= {"qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "n_routed_experts": 4}
LATENT |= {"n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT |= {"first_k_dense_replace": 1, "n_shared_experts": 1}
SHARED: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "mistral": ("mistral", {"sliding_window": WINDOW}),
    "gemma2": ("gemma2", {"head_dim": 8, "sliding_window": WINDOW, "attn_logit_softcapping": 1.0}),
    "gemma3": ("gemma3_text", {"head_dim": 8, "sliding_window": WINDOW}),
    "gemma3n": ("gemma3n_text", DEEP),
    "gemma4": ("gemma4_text", UNLIKE),
    "gpt2": ("gpt2", GPT2),
    "gpt_neo": ("gpt_neo", NEO),
    "bloom": ("bloom", {"n_layer": 2, "n_head": 4}),
    "mpt": ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": CONTEXT}),
    "gpt_oss": ("gpt_oss", {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}),
    "qwen3_5": ("qwen3_5_text", {"head_dim": 8, **LINEAR}),
    "mamba": ("mamba", {}),
    "qwen3": ("qwen3", {"head_dim": 8}),
    "qwen3_moe": ("qwen3_moe", {"head_dim": 8, **EXPERTS}),
    "mixtral": ("mixtral", {"num_local_experts": 2, "num_experts_per_tok": 1}),
    "phi": ("phi", {}),
    "phi3": ("phi3", {}),
    "olmo2": ("olmo2", {}),
    "smollm3": ("smollm3", {}),
    "granite": ("granite", {"logits_scaling": 4.0, "residual_multiplier": 0.5}),
    "stablelm": ("stablelm", {}),
    "gptj": ("gptj", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}),
    "gpt_neox": ("gpt_neox", {}),
    "falcon": ("falcon", {"multi_query": True, "new_decoder_architecture": False}),
    "falcon_new": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "deepseek_v3": ("deepseek_v3", LATENT),
}
"""Name -> transformers' name of the configuration, and what differs from `SHAPE`."""
OPT: dict[str, Any] = {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0}
FARTHER = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64}
FARTHER |= {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
HYBRID: dict[str, Any] = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16}
HYBRID |= {"mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 16}
BART: dict[str, Any] = {"is_decoder": True, "d_model": 32, "decoder_layers": 2}
BART |= {"decoder_attention_heads": 4, "decoder_ffn_dim": 64, "encoder_layers": 2}
BIOGPT_DROPS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "layerdrop")
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "bart": ("bart", BART),
    "biogpt": ("biogpt", dict.fromkeys(BIOGPT_DROPS, 0.0)),
    "doge": ("doge", {}),
    "glm": ("glm", {"head_dim": 8, "attention_dropout": 0.0}),
    "hrm_text": ("hrm_text", {"head_dim": 8}),
    "olmo_clipped": ("olmo", {"clip_qkv": 3.0}),
    "roberta": ("roberta", {"is_decoder": True}),
    "phimoe_short": (
        "phimoe",
        {"num_local_experts": 2, "num_experts_per_tok": 2, "sliding_window": WINDOW},
    ),
    "falcon_h1": ("falcon_h1", HYBRID),
    "megatron-bert": ("megatron-bert", {"is_decoder": True}),
    "modernbert-decoder": ("modernbert-decoder", {"local_attention": WINDOW}),
    "opt": ("opt", OPT),
    "phi3_long": (
        "phi3",
        {"rope_parameters": FARTHER, "original_max_position_embeddings": 64},
    ),
    "ernie4_5_moe": ("ernie4_5_moe", {**SHARED, "moe_num_experts": 4, "moe_k": 2}),
    "deepseek_v2": ("deepseek_v2", LATENT),
    "seed_oss": ("seed_oss", {"attention_dropout": 0.0, "residual_dropout": 0.1, "head_dim": 8}),
    "qwen3_next": ("qwen3_next", {**LINEAR, "head_dim": 8, **SHARED}),
    "llama4": ("llama4_text", SHARED),
    "qwen2_moe": ("qwen2_moe", SHARED),
    "afmoe": ("afmoe", SHARED),
    "phimoe": ("phimoe", {"num_local_experts": 2, "num_experts_per_tok": 2}),
}
"""Others, which only tests of what is odd about them use."""
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


SLOW = 0.2
"""Decay of a running state, where a layer has one for each head. transformers sums those of up to
64 tokens in float32 and subtracts sums: of its own draws, up to 16, gradients round to 1e-4."""


def save(folder: Path, architecture: str = "llama") -> ModelCard:
    """Write a base to `folder`; its card."""
    network(architecture).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return base_card.describe(str(folder))


def network(architecture: str = "llama") -> Any:
    """A causal language model with weights large enough to have opinions, in evaluation mode."""
    import torch

    libraries.require_transformers()
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, differing = (ARCHITECTURES | MORE)[architecture]
    config = AutoConfig.for_model(kind, **{**SHAPE, "vocab_size": len(tokenizer()), **differing})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = AutoModelForCausalLM.from_config(config).float().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
            elif name.endswith(".A_log"):
                parameter.fill_(SLOW).log_()
    return made


@cache
def tokenizer() -> Any:
    """Byte pairs of a few lines, with control tokens and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(CONTROL), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(LINES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token=CONTROL[0],
        bos_token=CONTROL[1],
        eos_token=CONTROL[2],
        additional_special_tokens=list(CONTROL[3:]),
    )
    fast.chat_template = TEMPLATE
    return fast
