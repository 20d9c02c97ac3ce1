"""Virtual tokens before every request: what techniques share that train them and freeze the base.

What is kept and served are the tokens they end with, as embeddings, in PEFT's own format. They
begin as answers of the training part, as Lester et al. 2021, arXiv:2104.08691, section 3.2, begin
with those that the task may give: small models hardly learn from random ones.
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
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.outline import Outline, empty_alike
from sartor.settings import STRICT
from sartor.techniques import weights
from sartor.techniques.few_shot import varied
from sartor.techniques.technique import Customization
from sartor.techniques.trained import Course, TrainedTechnique, fit_weights

if TYPE_CHECKING:
    import torch

KEPT = "adapter_model.safetensors"
EMBEDDINGS = "prompt_embeddings"
"""PEFT's name for them inside `KEPT`."""


@dataclass(frozen=True, config=STRICT)
class VirtualTokens(TrainedTechnique, ABC):
    """A technique that trains embeddings to stand before every request."""

    virtual_tokens: int = 100
    """How many; each takes a place in the context of every request. 20 to 100 is usual."""

    def __post_init__(self) -> None:
        TrainedTechnique.__post_init__(self)
        if self.virtual_tokens < 1:
            raise SettingError(
                f"{self.name}: virtual_tokens is {self.virtual_tokens}; it must be 1 or more "
                "(20 to 100 is usual)"
            )

    def trainable(self, shape: Outline) -> int:
        """How many values will be trained on a base of that shape."""
        return self.virtual_tokens * shape.hidden

    @abstractmethod
    def _module(self, tokens: torch.Tensor) -> torch.nn.Module:
        """What is trained: called, it gives the virtual tokens, at first `tokens` (virtual tokens,
        hidden)."""

    def refuse(self, base: ModelCard) -> None:
        """TrainingError where virtual tokens cannot stand before others."""
        refuse_no_room(self.name, self.virtual_tokens, base)
        if (network := empty_alike(base)) is not None:
            _refuse_deep_embeddings(network, self.name)

    def fit(
        self, base: ModelCard, data: TrainingData, directory: Path,
        course: Course | None = None,
    ) -> Customization:  # fmt: skip
        """Train what makes the virtual tokens; keep the tokens."""

        def prepare(network: Any) -> weights.Prepared:
            _refuse_deep_embeddings(network, self.name)
            network.requires_grad_(False)
            tokens = first(base, data, self.virtual_tokens, self.seed)
            module = self._module(embedded(network, tokens)).to(network.device)
            return weights.Prepared(
                dict(module.named_parameters()),
                lambda folder: self._save(module, base, folder),
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

    def _save(self, module: Any, base: ModelCard, folder: Path) -> None:
        import torch

        with torch.no_grad():
            virtual = module().float().cpu().contiguous()
        save(folder, base, virtual, {"peft_type": "PROMPT_TUNING", "token_dim": virtual.shape[1]})

    def load(self, customization: Customization) -> LanguageModel:
        """The base with the virtual tokens before every request."""
        network = local.load_network(customization.base, local.inference_dtype(customization.base))
        virtual = read(customization).to(network.device, network.dtype)
        return weights.answering(customization, network, system=self.system, virtual=virtual)


def refuse_no_room(what: str, count: int, base: ModelCard) -> None:
    """TrainingError where so many leave nothing of the context."""
    if count >= base.context:
        raise TrainingError(
            f"{what}: virtual_tokens is {count}, and {base.name} reads {base.context} tokens: there"
            " is no room for a request. Give fewer (20 to 100 is usual), or a base that reads more."
        )


def first(base: ModelCard, data: TrainingData, count: int, seed: int) -> list[int]:
    """The tokens that the virtual ones begin as: training answers, of all kinds in turn."""
    tokenizer = local.load_tokenizer(base)
    examples = list(data.train)
    random.Random(seed).shuffle(examples)
    tokens: list[int] = []
    for example in varied(examples, count):
        tokens += chat.encode_answer(tokenizer, example.targets[0])
    return list(islice(cycle(tokens), count))


def embedded(network: Any, tokens: list[int]) -> torch.Tensor:
    """The base's embeddings of real tokens, in float32: (tokens, hidden)."""
    import torch

    with torch.no_grad():
        at = torch.tensor(tokens, dtype=torch.long, device=network.device)
        found: torch.Tensor = network.get_input_embeddings()(at).float()
    return found


def save(folder: Path, base: ModelCard, virtual: torch.Tensor, kind: dict[str, Any] | None) -> None:
    """Write the tensor (virtual tokens, width), and what PEFT must know to read it: the `kind`, or
    None where it could not."""
    from safetensors.torch import save_file

    save_file({EMBEDDINGS: virtual}, folder / KEPT)
    if kind is None:
        return
    write_json(
        folder / "adapter_config.json",
        {
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base.name,
            "num_virtual_tokens": len(virtual),
            "num_transformer_submodules": 1,
            "inference_mode": True,
            **kind,
        },
    )


def read(customization: Customization) -> torch.Tensor:
    """What `save` wrote; ModelError where it cannot be read."""
    from safetensors.torch import load_file

    with weights.reading(customization):
        return load_file(Path(customization.directory) / KEPT)[EMBEDDINGS]


def _refuse_deep_embeddings(network: Any, what: str) -> None:
    """Gemma 3n and 4 look tokens up in every layer: a virtual one is nowhere there."""
    if getattr(network.config.get_text_config(decoder=True), "hidden_size_per_layer_input", 0):
        raise TrainingError(
            f"{what}: a {type(network).__name__} looks its tokens up in every layer, so virtual "
            "tokens cannot stand before them. Use lora or full, or another base."
        )
