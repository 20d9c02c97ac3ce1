"""Soft prompts: what techniques share that train what stands before requests, on a frozen base.

What is kept is what they end with, in PEFT's own format. They begin as answers of the training
part, as Lester et al. 2021, arXiv:2104.08691, section 3.2, begin with those that the task may give:
small models hardly learn from random ones.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from sartor.data.files import write_json
from sartor.data.records import TrainingData
from sartor.errors import SettingError, TrainingError
from sartor.models import chat, local
from sartor.models.language_model import ModelCard
from sartor.models.outline import empty_alike
from sartor.settings import STRICT
from sartor.techniques import weights
from sartor.techniques.few_shot import varied
from sartor.techniques.technique import Customization
from sartor.techniques.trained import Course, TrainedTechnique, fit_weights

if TYPE_CHECKING:
    import torch

KEPT = "adapter_model.safetensors"
TENSOR = "prompt_embeddings"
"""PEFT's name for it inside `KEPT`."""


@dataclass(frozen=True, config=STRICT)
class SoftPrompt(TrainedTechnique, ABC):
    """A technique that trains what stands before every request."""

    virtual_tokens: int = 100
    """How many tokens it stands for; each takes a place in the context of every request. 20 to 100
    is usual."""

    def __post_init__(self) -> None:
        TrainedTechnique.__post_init__(self)
        if self.virtual_tokens < 1:
            raise SettingError(
                f"{self.name}: virtual_tokens is {self.virtual_tokens}; it must be 1 or more "
                "(20 to 100 is usual)"
            )

    @abstractmethod
    def _refuse_network(self, network: Any, context: int) -> None:
        """TrainingError where nothing can stand before requests of so many tokens."""

    @abstractmethod
    def _begun(self, network: Any, tokens: list[int]) -> torch.nn.Module:
        """What is trained: called, it gives what stands before, at first as these tokens would."""

    @abstractmethod
    def _save(self, made: Any, base: ModelCard, folder: Path) -> None:
        """Write what it gives in the end."""

    def refuse(self, base: ModelCard) -> None:
        """TrainingError where there is no room, or nothing can stand before requests."""
        if self.virtual_tokens >= base.context:
            raise TrainingError(
                f"{self.name}: virtual_tokens is {self.virtual_tokens}, and {base.name} reads "
                f"{base.context} tokens: there is no room for a request. Give fewer (20 to 100 is "
                "usual), or a base that reads more."
            )
        if (network := empty_alike(base)) is not None:
            self._refuse_network(network, base.context)

    def fit(
        self, base: ModelCard, data: TrainingData, directory: Path, course: Course | None = None
    ) -> Customization:
        """Train what stands before; raises TrainingError where nothing can."""

        def prepare(network: Any) -> weights.Prepared:
            self._refuse_network(network, base.context)
            network.requires_grad_(False)
            tokens = first(base, data, self.virtual_tokens, self.seed)
            module = self._begun(network, tokens).to(network.device)
            return weights.Prepared(
                dict(module.named_parameters()),
                lambda folder: self._save(module(), base, folder),
                virtual=module,
            )

        return fit_weights(
            self,
            base,
            data,
            directory,
            prepare,
            frozen=True,
            taken=self.virtual_tokens,
            course=course,
        )


def first(base: ModelCard, data: TrainingData, count: int, seed: int) -> list[int]:
    """The tokens that it begins as: training answers, of all kinds in turn."""
    tokenizer = local.load_tokenizer(base)
    examples = list(data.train)
    random.Random(seed).shuffle(examples)
    tokens: list[int] = []
    for example in varied(examples, count):
        tokens += chat.encode_answer(tokenizer, example.targets[0])
    return list(islice(cycle(tokens), count))


def save(folder: Path, base: ModelCard, made: torch.Tensor, kind: dict[str, Any] | None) -> None:
    """Write the tensor (virtual tokens, width), and what PEFT must know to read it: the `kind`, or
    None where it could not."""
    from safetensors.torch import save_file

    save_file({TENSOR: made.detach().float().cpu().contiguous()}, folder / KEPT)
    if kind is None:
        return
    write_json(
        folder / weights.CONFIG,
        {
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base.name,
            "num_virtual_tokens": len(made),
            "num_transformer_submodules": 1,
            "inference_mode": True,
            **kind,
        },
    )


def read(customization: Customization) -> torch.Tensor:
    """What `save` wrote; ModelError where it cannot be read."""
    from safetensors.torch import load_file

    with weights.reading(customization):
        return load_file(Path(customization.directory) / KEPT)[TENSOR]
