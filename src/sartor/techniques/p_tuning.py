"""P-tuning: virtual tokens before the request, made by a small trained encoder; the base is frozen.

The encoder (an embedding for each virtual token, and a multilayer perceptron over them) is only
needed while training; what is kept and served are the virtual tokens it ends with, in PEFT's own
format. Liu et al. 2021, arXiv:2103.10385, section 3.2; the perceptron as in PEFT's `PromptEncoder`.
The virtual tokens begin as answers of the training part, as Lester et al. 2021, arXiv:2104.08691,
section 3.2, begin with those that the task may give: small models hardly learn from random ones.
"""

from __future__ import annotations

import random
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.files import write_json
from sartor.data.records import TrainingData
from sartor.errors import SettingError, TrainingError
from sartor.models import chat, local
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.settings import STRICT
from sartor.techniques import weights
from sartor.techniques.few_shot import varied
from sartor.techniques.technique import Customization

if TYPE_CHECKING:
    import torch

KEPT = "adapter_model.safetensors"


@dataclass(frozen=True, config=STRICT)
class PTuning(weights.TrainedTechnique):
    """Virtual tokens, trained through a prompt encoder and served as embeddings."""

    name: ClassVar[str] = "p-tuning"
    virtual_tokens: int = 100
    """How many; each takes a place in the context of every request. 20 to 100 is usual."""
    encoder_hidden: int = 256
    """Width of the prompt encoder; it costs training time and memory only."""
    learning_rates: tuple[float, ...] = (3e-3, 1e-2)

    def __post_init__(self) -> None:
        weights.TrainedTechnique.__post_init__(self)
        if self.virtual_tokens < 1:
            raise SettingError(
                f"p-tuning: virtual_tokens is {self.virtual_tokens}; it must be 1 or more "
                "(20 to 100 is usual)"
            )
        if self.encoder_hidden < 1:
            raise SettingError(
                f"p-tuning: encoder_hidden is {self.encoder_hidden}; it must be 1 or more "
                "(128 to 1024 is usual)"
            )

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Train the prompt encoder; keep the virtual tokens."""

        def prepare(network: Any) -> weights.Prepared:
            _refuse_deep_embeddings(network)
            network.requires_grad_(False)
            encoder = self._encoder(network, self._first(base, data))
            return weights.Prepared(
                dict(encoder.named_parameters()),
                lambda folder: self._save(encoder, base, folder),
                virtual=encoder,
            )

        return weights.fit(
            self, base, data, directory, prepare, frozen=True, taken=self.virtual_tokens
        )

    def _first(self, base: ModelCard, data: TrainingData) -> list[int]:
        """The tokens that the virtual ones begin as: training answers, of all kinds in turn."""
        tokenizer = local.load_tokenizer(base)
        examples = list(data.train)
        random.Random(self.seed).shuffle(examples)
        tokens: list[int] = []
        for example in varied(examples, self.virtual_tokens):
            tokens += chat.encode_answer(tokenizer, example.targets[0])
        return list(islice(cycle(tokens), self.virtual_tokens))

    def _encoder(self, network: Any, first: list[int]) -> torch.nn.Module:
        import torch

        with torch.no_grad():  # (virtual tokens, hidden)
            embed = network.get_input_embeddings()
            at = torch.tensor(first, dtype=torch.long, device=network.device)
            tokens = embed(at).float()
        width, hidden = self.encoder_hidden, tokens.shape[1]

        class PromptEncoder(torch.nn.Module):
            """(virtual tokens, hidden): real tokens' embeddings, moved by a perceptron."""

            def __init__(self) -> None:
                super().__init__()
                self.tokens = torch.nn.Parameter(tokens)
                self.scale = float(tokens.std())
                last = torch.nn.Linear(width, hidden)
                torch.nn.init.zeros_(last.weight)  # at first they are not moved
                torch.nn.init.zeros_(last.bias)
                self.perceptron = torch.nn.Sequential(
                    torch.nn.Linear(hidden, width),
                    torch.nn.ReLU(),
                    torch.nn.Linear(width, width),
                    torch.nn.ReLU(),
                    last,
                )

            def forward(self) -> torch.Tensor:
                moved: torch.Tensor = self.perceptron(self.tokens / self.scale)
                return self.tokens + self.scale * moved

        return PromptEncoder().to(network.device)

    def _save(self, encoder: Any, base: ModelCard, folder: Path) -> None:
        import torch
        from safetensors.torch import save_file

        with torch.no_grad():
            virtual = encoder().float().cpu().contiguous()
        save_file({"prompt_embeddings": virtual}, folder / KEPT)
        write_json(
            folder / "adapter_config.json",
            {
                "peft_type": "PROMPT_TUNING",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": base.name,
                "num_virtual_tokens": self.virtual_tokens,
                "token_dim": virtual.shape[1],
                "num_transformer_submodules": 1,
                "inference_mode": True,
            },
        )

    def load(self, customization: Customization) -> LanguageModel:
        """The base with the virtual tokens before every request."""
        from safetensors.torch import load_file

        network = local.load_network(customization.base, local.inference_dtype(customization.base))
        with weights.reading(customization):
            kept = load_file(Path(customization.directory) / KEPT)["prompt_embeddings"]
        virtual = kept.to(network.device, network.dtype)
        return weights.answering(customization, network, system=self.system, virtual=virtual)


def _refuse_deep_embeddings(network: Any) -> None:
    """Gemma 3n and 4 look tokens up in every layer: a virtual one is nowhere there."""
    if getattr(network.config.get_text_config(decoder=True), "hidden_size_per_layer_input", 0):
        raise TrainingError(
            f"p-tuning: a {type(network).__name__} looks its tokens up in every layer, so virtual "
            "tokens cannot stand before them. Use lora or full, or another base."
        )
