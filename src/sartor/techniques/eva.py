"""EVA: adapters begin as the largest directions of what flows through their layers, and ranks go
where these explain most.

By PEFT's `initialize_lora_eva_weights`, which looks at activations batch by batch until directions
no longer turn. It goes round for ever where every batch is too short for the rank, so batches are
made long enough here, or that is refused. Paischer et al. 2024, arXiv:2410.07170.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sartor.data.records import Example
from sartor.errors import TrainingError
from sartor.models import chat, local
from sartor.models.language_model import ModelCard
from sartor.techniques import weights

if TYPE_CHECKING:
    import torch

LOOKED_AT = 64
"""Training examples whose activations are looked at."""
TOGETHER = 4
"""Prompts of a batch, at least."""
SEEN = 4
"""Times the rank: inputs of a layer, and tokens of a batch, that its directions are found among
(PEFT keeps twice the rank to choose from, and looks for twice as many)."""
WHAT = "lora: initialization 'eva'"
ELSE = "Lower the rank, or leave initialization out."


def begin_with_activations(
    model: Any, base: ModelCard, examples: Sequence[Example], rank: int
) -> None:
    """Set PEFT's adapters to begin so; `rank` is the largest that layers were given.

    Raises TrainingError where prompts are too short for the rank, and where nothing flows through a
    layer.
    """
    tokenizer = local.load_tokenizer(base)
    prompts = [chat.encode(tokenizer, e.input)[-base.context :] for e in examples[:LOOKED_AT]]
    batches = [_padded(batch, model.device) for batch in _batches(prompts, SEEN * rank)]
    with weights.peft_errors(WHAT):
        import peft

        try:
            peft.initialize_lora_eva_weights(
                model,
                batches,
                prepare_layer_inputs_fn=_of_tokens,
                prepare_model_inputs_fn=lambda batch, _: batch["attention_mask"].bool(),
                gather_distributed_inputs=False,  # every process looks at the same
                show_progress_bar=False,
            )
        except IndexError as error:  # no inputs were kept of a layer that none came to
            raise TrainingError(
                f"{WHAT}: layers of a {type(model.get_base_model()).__name__} are not all run for "
                "every batch, such as experts that no token is sent to. Name those that are in "
                "target_modules, or leave initialization out."
            ) from error


def refuse_narrow(model: Any, rank: int) -> None:
    """TrainingError where a layer that PEFT's model adapts takes too few inputs for the rank."""
    needed = SEEN * rank
    for name, module in model.named_modules():
        width = getattr(module, "in_features", needed) if hasattr(module, "lora_A") else needed
        if width < needed:
            layer = name.removeprefix("base_model.model.")
            raise TrainingError(
                f"{WHAT}: rank {rank} is chosen among {needed} directions, and {layer} takes only "
                f"{width} inputs. {ELSE}"
            )


def _batches(prompts: Sequence[list[int]], needed: int) -> Iterator[list[list[int]]]:
    """Prompts together, each batch of `needed` tokens or more; what is left over joins the last."""
    tokens = sum(map(len, prompts))
    if tokens < needed:
        raise TrainingError(
            f"{WHAT}: {len(prompts)} training prompts have {tokens} tokens, and {needed} are needed"
            f" to choose directions among. {ELSE}"
        )
    batch: list[list[int]] = []
    for place, prompt in enumerate(prompts):
        batch.append(prompt)
        rest = sum(map(len, prompts[place + 1 :]))
        if len(batch) >= TOGETHER and sum(map(len, batch)) >= needed and rest >= needed:
            yield batch
            batch = []
    yield batch


def _padded(rows: Sequence[list[int]], device: Any) -> dict[str, torch.Tensor]:
    import torch

    parts = [torch.tensor(row) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)  # (some, longest)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(p) for p in parts], batch_first=True)
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def _of_tokens(given: Any, mask: torch.Tensor, _: str) -> torch.Tensor:
    """(tokens, inputs) of a layer, without padding: some architectures lay all rows end to end
    before their feed-forward blocks, and experts take only some tokens of them."""
    inputs: torch.Tensor = given[0] if isinstance(given, (tuple, list)) else given
    flat = inputs.reshape(-1, inputs.shape[-1])
    return flat[mask.flatten()] if len(flat) == mask.numel() else flat
